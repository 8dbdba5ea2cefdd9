#include "text/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <mutex>

#include "core/error.h"
#include "text/added_tokens.h"
#include "text/byte_level.h"
#include "text/decoder.h"
#include "text/json_fields.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/special_tokens.h"
#include "text/token_model.h"
#include "text/tokenizer_file.h"
#include "text/unicode.h"

namespace sft {

namespace {

struct NamedToken {
  std::string text;
  std::optional<int32_t> id;
};

}  // namespace

struct Tokenizer::Scratch::Impl {
  SplitText split;
  std::unique_ptr<ModelScratch> model;
  std::vector<TokenPart> parts, inner_parts;
  std::vector<Span> token_spans;
  AlignedText whole;
  std::vector<size_t> found_tokens;  // which ids of the output stand for added tokens of the text
  std::shared_ptr<const Tokenizer::Impl> owner;  // whose words the cache holds
};

struct Tokenizer::Impl {
  std::unique_ptr<Normalizer> normalizer;
  std::unique_ptr<PreTokenizer> pre_tokenizer;
  std::unique_ptr<TokenModel> model;
  AddedTokens added;
  PostProcessor post_processor;
  std::unique_ptr<Decoder> decoder;
  NamedToken bos, eos, pad, unk;
  std::optional<int64_t> model_max_length;
  std::string budget_subject;

  void read_config(const Json& config, const std::string& where);

  // One call's output: spans stay empty unless wanted.
  struct Output {
    std::vector<int32_t>& ids;
    std::vector<Span>* spans;
    size_t first;
  };
  void encode(std::string_view text, bool add_special, Scratch::Impl& scratch, Output out) const;
  void encode_segment(std::string_view text, Span segment, Scratch::Impl& scratch, Output& out,
                      Budget& budget) const;
  void encode_pieces(Scratch::Impl& scratch, Output& out) const;
  void add_found_token(int32_t id, Span span, Scratch::Impl& scratch, Output& out) const;
  void post_process(std::string_view text, bool add_special, Scratch::Impl& scratch, Output& out,
                    Budget& budget) const;
  void trim_spans(std::string_view text, bool keeps_first_space,
                  const std::vector<size_t>& found_tokens, Output& out) const;
  void lay_out(const std::vector<int32_t>& layout, std::vector<size_t>& found_tokens,
               Output& out) const;

  std::string_view token(int32_t id) const {
    const AddedToken* added_token = added.by_id(id);
    return added_token != nullptr ? std::string_view(added_token->shown)
                                  : model->vocabulary().text(id);
  }
  bool has(int32_t id) const { return added.by_id(id) != nullptr || model->vocabulary().has(id); }
  std::string decode(std::span<const int32_t> ids, bool skip_special) const;

  // Scratches for calls that bring none.
  mutable std::mutex spare_mutex;
  mutable std::vector<std::unique_ptr<Scratch::Impl>> spare;
  template <typename Work>
  void with_spare_scratch(const Work& work) const;
};

template <typename Work>
void Tokenizer::Impl::with_spare_scratch(const Work& work) const {
  std::unique_ptr<Scratch::Impl> scratch;
  {
    const std::lock_guard lock(spare_mutex);
    if (!spare.empty()) {
      scratch = std::move(spare.back());
      spare.pop_back();
    }
  }
  if (!scratch) {
    scratch = std::make_unique<Scratch::Impl>();
    scratch->model = model->make_scratch();
  }
  work(*scratch);
  const std::lock_guard lock(spare_mutex);
  spare.push_back(std::move(scratch));
}

void Tokenizer::Impl::read_config(const Json& given, const std::string& where) {
  const Json config = given.is_object() ? given : Json::object();
  add_special_tokens(config, model->vocabulary(), where, added);
  const auto named = named_special_tokens(config);
  const auto find = [&](std::string_view name) {
    const auto found =
        std::ranges::find_if(named, [&](const auto& token) { return token.first == name; });
    return found == named.end() ? NamedToken{}
                                : NamedToken{found->second, added.by_content(found->second)->id};
  };
  bos = find("bos_token");
  eos = find("eos_token");
  pad = find("pad_token");
  unk = find("unk_token");
  if (config.contains("model_max_length")) {
    const Json& value = config["model_max_length"];
    if (value.is_number() && value.get<double>() >= 1 && value.get<double>() < 1e15) {
      model_max_length = static_cast<int64_t>(value.get<double>());
    }
  }
  added.finish(normalizer.get(), budget_subject,
               bool_field(config, "split_special_tokens", false, where));
}

void Tokenizer::Impl::encode(std::string_view text, bool add_special, Scratch::Impl& scratch,
                             Output out) const {
  if (text.size() >= std::numeric_limits<uint32_t>::max()) {
    throw Error("M116",
                fmt::format("a text of {} bytes is too long to tokenize at once", text.size()))
        .hint("cut it into texts of less than 4 GiB");
  }
  if (const size_t bad = find_invalid_utf8(text); bad != std::string_view::npos) {
    throw Error(kTextIsNotUtf8, fmt::format("a text is not valid UTF-8 at byte {} (0x{:02x})", bad,
                                            static_cast<unsigned char>(text[bad])))
        .hint("write the file again in UTF-8, for example with iconv");
  }
  scratch.parts.clear();
  scratch.found_tokens.clear();
  Budget budget = tokenizer_budget(text.size(), budget_subject);
  added.find(text, false, budget, scratch.parts);
  for (const TokenPart& part : scratch.parts) {
    if (part.id == Vocabulary::kNone) {
      encode_segment(text, part.span, scratch, out, budget);
      continue;
    }
    add_found_token(part.id, part.span, scratch, out);
  }
  post_process(text, add_special, scratch, out, budget);
}

// A part of the text without added tokens that are looked for in the original text.
void Tokenizer::Impl::encode_segment(std::string_view text, Span segment, Scratch::Impl& scratch,
                                     Output& out, Budget& budget) const {
  AlignedText& aligned = scratch.split.text;
  const bool track = out.spans != nullptr || (pre_tokenizer && pre_tokenizer->needs_origins());
  aligned.reset(text.substr(segment.begin, segment.size()), segment.begin, track, budget);
  if (normalizer) {
    normalizer->apply(aligned);
  }
  if (!added.any(true)) {
    encode_pieces(scratch, out);
    return;
  }
  scratch.inner_parts.clear();
  added.find(aligned.text(), true, budget, scratch.inner_parts);
  std::swap(scratch.whole, aligned);
  for (const TokenPart& part : scratch.inner_parts) {
    if (part.id != Vocabulary::kNone) {
      add_found_token(part.id, scratch.whole.origin(part.span.begin, part.span.end), scratch, out);
      continue;
    }
    aligned.assign_part(scratch.whole, part.span.begin, part.span.end);
    encode_pieces(scratch, out);
  }
}

void Tokenizer::Impl::encode_pieces(Scratch::Impl& scratch, Output& out) const {
  SplitText& split = scratch.split;
  split.raw_bytes = false;
  split.pieces.clear();
  if (!split.text.text().empty()) {
    split.pieces.push_back({0, static_cast<uint32_t>(split.text.text().size())});
  }
  if (pre_tokenizer) {
    pre_tokenizer->apply(split);
  }
  if (split.raw_bytes && !model->takes_raw_bytes(out.spans != nullptr)) {
    spell_out_bytes(split);
  }
  const std::string_view text = split.text.text();
  scratch.token_spans.clear();
  model->encode(text, split.pieces, split.raw_bytes, *scratch.model, out.ids,
                out.spans != nullptr ? &scratch.token_spans : nullptr);
  for (const Span span : scratch.token_spans) {
    out.spans->push_back(split.text.origin(span.begin, span.end));
  }
}

void Tokenizer::Impl::add_found_token(int32_t id, Span span, Scratch::Impl& scratch,
                                      Output& out) const {
  if (out.spans != nullptr) {
    scratch.found_tokens.push_back(out.ids.size());
    out.spans->push_back(span);
  }
  out.ids.push_back(id);
}

void Tokenizer::Impl::post_process(std::string_view text, bool add_special, Scratch::Impl& scratch,
                                   Output& out, Budget& budget) const {
  for (const PostProcessor::Step& step : post_processor.steps()) {
    if (step.trims && out.spans != nullptr) {
      trim_spans(text, step.keeps_first_space, scratch.found_tokens, out);
    } else if (!step.trims && add_special) {
      // The text may stand in the layout many times.
      const auto tokens = static_cast<int64_t>(out.ids.size() - out.first) + 1;
      budget.room(static_cast<int64_t>(step.layout.size()), tokens);
      budget.step(static_cast<int64_t>(step.layout.size()) * tokens);
      lay_out(step.layout, scratch.found_tokens, out);
    }
  }
  scratch.found_tokens.clear();
}

void Tokenizer::Impl::trim_spans(std::string_view text, bool keeps_first_space,
                                 const std::vector<size_t>& found_tokens, Output& out) const {
  auto found = found_tokens.begin();
  for (size_t i = out.first; i < out.ids.size(); ++i) {
    Span& span = (*out.spans)[i];
    std::string_view spelled = token(out.ids[i]);
    if (found != found_tokens.end() && *found == i) {
      spelled = text.substr(span.begin, span.size());  // with the white space that it swallowed
      ++found;
    }
    const bool is_first = i == out.first || span.begin == 0;
    span = trim_span(text, spelled, span, is_first, keeps_first_space);
  }
}

// Puts special tokens around what has been encoded.
void Tokenizer::Impl::lay_out(const std::vector<int32_t>& layout, std::vector<size_t>& found_tokens,
                              Output& out) const {
  const std::vector<int32_t> ids(out.ids.begin() + static_cast<long>(out.first), out.ids.end());
  std::vector<Span> spans;
  out.ids.resize(out.first);
  if (out.spans != nullptr) {
    spans.assign(out.spans->begin() + static_cast<long>(out.first), out.spans->end());
    out.spans->resize(out.first);
  }
  for (const int32_t id : layout) {
    if (id == PostProcessor::kText) {
      for (size_t& found : found_tokens) {
        found += out.ids.size() - out.first;
      }
      out.ids.insert(out.ids.end(), ids.begin(), ids.end());
    } else {
      out.ids.push_back(id);
    }
    if (out.spans == nullptr) {
      continue;
    }
    if (id == PostProcessor::kText) {
      out.spans->insert(out.spans->end(), spans.begin(), spans.end());
    } else {
      out.spans->push_back({});
    }
  }
}

std::string Tokenizer::Impl::decode(std::span<const int32_t> ids, bool skip_special) const {
  if (decoder && decoder->is_byte_level()) {
    std::string bytes, text;
    for (const int32_t id : ids) {
      if (!(skip_special && added.is_special(id)) && !append_raw_bytes(bytes, token(id))) {
        bytes += token(id);
      }
    }
    append_lossy_utf8(text, bytes);
    return text;
  }
  std::vector<std::string> tokens;
  size_t bytes = 0;
  for (const int32_t id : ids) {
    if (has(id) && !(skip_special && added.is_special(id))) {
      tokens.emplace_back(token(id));
      bytes += tokens.back().size();
    }
  }
  if (decoder) {
    Budget budget = tokenizer_budget(bytes, budget_subject);
    decoder->apply(tokens, budget);
  }
  std::string text;
  for (size_t i = 0; i < tokens.size(); ++i) {
    text += i > 0 && !decoder ? " " : "";
    text += tokens[i];
  }
  return text;
}

Tokenizer::Scratch::Scratch(const Tokenizer& tokenizer) : impl_(std::make_unique<Impl>()) {
  impl_->owner = tokenizer.impl_;
  impl_->model = tokenizer.impl_->model->make_scratch();
}
Tokenizer::Scratch::~Scratch() = default;
Tokenizer::Scratch::Scratch(Scratch&&) noexcept = default;
Tokenizer::Scratch& Tokenizer::Scratch::operator=(Scratch&&) noexcept = default;

Tokenizer::Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::from_text(std::string_view tokenizer_json, const Json& tokenizer_config,
                               const std::string& name) {
  TokenizerFile file = parse_tokenizer_file(tokenizer_json, name);
  auto impl = std::make_shared<Impl>();
  const Json nothing;
  const auto component = [&](const char* key) -> const Json& {
    const auto it = file.components.find(key);
    return it == file.components.end() ? nothing : *it;
  };
  const auto where = [&](const char* key) { return fmt::format("{} ({})", name, key); };
  impl->normalizer = make_normalizer(component("normalizer"), where("normalizer"));
  impl->pre_tokenizer = make_pre_tokenizer(component("pre_tokenizer"), where("pre_tokenizer"));
  impl->post_processor = PostProcessor(component("post_processor"), where("post_processor"));
  impl->decoder = make_decoder(component("decoder"), where("decoder"));
  impl->model = std::move(file.model);
  impl->added.add(component("added_tokens"), impl->model->vocabulary(), where("added_tokens"));
  impl->budget_subject = "tokenizing with " + name;
  impl->read_config(tokenizer_config, name);
  return Tokenizer(std::move(impl));
}

Tokenizer Tokenizer::from_json(const Json& tokenizer_json, const Json& tokenizer_config,
                               const std::string& name) {
  return from_text(to_text(tokenizer_json), tokenizer_config, name);
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  std::vector<int32_t> ids;
  impl_->with_spare_scratch([&](Scratch::Impl& scratch) {
    impl_->encode(text, add_special_tokens, scratch, {ids, nullptr, 0});
  });
  return ids;
}

Encoding Tokenizer::encode_with_spans(std::string_view text, bool add_special_tokens) const {
  Encoding encoding;
  impl_->with_spare_scratch([&](Scratch::Impl& scratch) {
    impl_->encode(text, add_special_tokens, scratch, {encoding.ids, &encoding.spans, 0});
  });
  return encoding;
}

void Tokenizer::encode(std::string_view text, bool add_special_tokens, Scratch& scratch,
                       std::vector<int32_t>& ids) const {
  SFT_ASSERT(scratch.impl_->owner == impl_);
  impl_->encode(text, add_special_tokens, *scratch.impl_, {ids, nullptr, ids.size()});
}

void Tokenizer::encode_with_spans(std::string_view text, bool add_special_tokens, Scratch& scratch,
                                  Encoding& encoding) const {
  SFT_ASSERT(scratch.impl_->owner == impl_);
  encoding.ids.clear();
  encoding.spans.clear();
  impl_->encode(text, add_special_tokens, *scratch.impl_, {encoding.ids, &encoding.spans, 0});
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  return impl_->decode(ids, skip_special_tokens);
}

std::optional<int32_t> Tokenizer::id_of(std::string_view token) const {
  if (const AddedToken* added = impl_->added.by_content(token)) {
    return added->id;
  }
  const int32_t id = impl_->model->vocabulary().find(token);
  return id == Vocabulary::kNone ? std::nullopt : std::optional(id);
}

std::string_view Tokenizer::token(int32_t id) const { return impl_->token(id); }
bool Tokenizer::is_special(int32_t id) const { return impl_->added.is_special(id); }
int Tokenizer::vocab_size() const {
  return std::max(impl_->model->vocabulary().id_end(), impl_->added.id_end());
}

std::optional<int32_t> Tokenizer::bos_id() const { return impl_->bos.id; }
std::optional<int32_t> Tokenizer::eos_id() const { return impl_->eos.id; }
std::optional<int32_t> Tokenizer::pad_id() const { return impl_->pad.id; }
std::optional<int32_t> Tokenizer::unk_id() const { return impl_->unk.id; }
const std::string& Tokenizer::bos_token() const { return impl_->bos.text; }
const std::string& Tokenizer::eos_token() const { return impl_->eos.text; }
const std::string& Tokenizer::pad_token() const { return impl_->pad.text; }
const std::string& Tokenizer::unk_token() const { return impl_->unk.text; }
std::optional<int64_t> Tokenizer::model_max_length() const { return impl_->model_max_length; }

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
    : tokenizer_(tokenizer.impl_), skip_special_(skip_special_tokens) {}

std::string StreamDecoder::push(int32_t id) {
  if (skip_special_ && tokenizer_->added.is_special(id)) {
    return "";
  }
  const bool by_bytes = tokenizer_->decoder && tokenizer_->decoder->is_byte_level();
  return by_bytes ? push_bytes(id) : push_window(id);
}

std::string StreamDecoder::push_bytes(int32_t id) {
  const std::string_view token = tokenizer_->token(id);
  if (!append_raw_bytes(held_, token)) {
    held_ += token;
  }
  const size_t tail = incomplete_utf8_tail(held_);
  std::string text;
  append_lossy_utf8(text, std::string_view(held_).substr(0, held_.size() - tail));
  held_.erase(0, held_.size() - tail);
  return text;
}

// Decodes the last few tokens again with the new one, and gives what is new. The text of a window
// that ends in U+FFFD may still become another.
std::string StreamDecoder::push_window(int32_t id) {
  window_.push_back(id);
  const std::string text = tokenizer_->decode(window_, skip_special_);
  constexpr std::string_view replacement = "\xEF\xBF\xBD";
  if (text.size() <= window_text_.size() || text.ends_with(replacement)) {
    return "";
  }
  std::string fresh = text.substr(window_text_.size());
  // Keep the tokens of this text, so that the next is not decoded as the first of all, nor the next
  // byte as the one behind half a character.
  window_.erase(window_.begin(), window_.begin() + static_cast<long>(window_given_));
  window_given_ = window_.size();
  window_text_ = tokenizer_->decode(window_, skip_special_);
  return fresh;
}

std::string StreamDecoder::finish() {
  std::string text;
  if (!window_.empty()) {
    const std::string rest = tokenizer_->decode(window_, skip_special_);
    text = rest.size() > window_text_.size() ? rest.substr(window_text_.size()) : "";
  }
  append_lossy_utf8(text, held_);
  held_.clear();
  window_.clear();
  window_text_.clear();
  window_given_ = 0;
  return text;
}

}  // namespace sft
