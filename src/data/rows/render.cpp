#include "data/rows/render.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/strings.h"
#include "jinja/errors.h"

namespace sft {

namespace {

// Marks the labels of all tokens that lie within one of the spans of the text; the others become
// kIgnored.
void keep_spans(const Encoding& encoding, const std::vector<Span>& spans, Example& row) {
  std::vector<bool> kept(row.labels.size());
  for (const Span& span : spans) {
    for (size_t i = 0; i < encoding.spans.size(); ++i) {
      if (encoding.spans[i].begin < span.end && encoding.spans[i].end > span.begin) {
        kept[i] = true;
      }
    }
  }
  for (size_t i = 0; i < kept.size(); ++i) {
    row.labels[i] = kept[i] ? row.labels[i] : kIgnored;
  }
}

constexpr std::string_view kThink = "<think>", kThought = "</think>";

// The texts of a message: its content, or the parts of it; of the assistant's, what comes after
// reasoning, which templates may cut out.
std::vector<std::string_view> texts_of(const Json& message, bool with_reasoning = false) {
  std::vector<std::string_view> texts;
  const bool cut = !with_reasoning && message["role"] == "assistant";
  const auto add = [&](const Json& value) {
    if (!value.is_string()) {
      return;
    }
    std::string_view text = value.get_ref<const std::string&>();
    if (const size_t end = text.rfind(kThought); cut && end != std::string_view::npos) {
      text.remove_prefix(end + kThought.size());
    }
    if (text = trim(text); !text.empty()) {
      texts.push_back(text);
    }
  };
  const auto content = message.find("content");
  if (content != message.end() && content->is_array()) {
    for (const Json& part : *content) {
      add(part.is_object() && part.contains("text") ? part["text"] : part);
    }
  } else if (content != message.end()) {
    add(*content);
  }
  return texts;
}

// Whether a text is in the rendered text: its head or its tail, since templates may trim, or cut
// out reasoning.
bool keeps_text(std::string_view text, std::string_view rendered) {
  constexpr size_t kPiece = 24;
  const std::string_view tail = text.substr(text.size() - std::min(kPiece, text.size()));
  return rendered.find(text.substr(0, kPiece)) != std::string_view::npos ||
         rendered.find(tail) != std::string_view::npos;
}

// Whether the text of some turn of this role is in the rendered text. True when no turn has text
// to look for.
bool keeps_some_turn(const Json& messages, std::string_view role, std::string_view rendered) {
  bool looked = false;
  for (const Json& message : messages) {
    if (message["role"] != role) {
      continue;
    }
    for (const std::string_view text : texts_of(message)) {
      if (keeps_text(text, rendered)) {
        return true;
      }
      looked = true;
    }
  }
  return !looked;
}

// Where a message has reasoning: in a field of its own, or in its content's <think> blocks.
struct Reasoning {
  std::string_view where, text;
};

std::vector<Reasoning> reasoning_of(const Json& message) {
  std::vector<Reasoning> out;
  const auto add = [&](std::string_view where, std::string_view text) {
    if (const auto trimmed = trim(text); !trimmed.empty()) {
      out.push_back({where, trimmed});
    }
  };
  for (const char* field : {"reasoning_content", "thinking", "reasoning"}) {
    const auto value = message.find(field);
    if (value != message.end() && value->is_string()) {
      add(field, value->get_ref<const std::string&>());
    }
  }
  if (message["role"] == "assistant") {
    for (const std::string_view text : texts_of(message, true)) {
      const size_t open = text.find(kThink);  // none: the prompt has opened it
      const size_t begin = open == std::string_view::npos ? 0 : open + kThink.size();
      if (const size_t close = text.find(kThought, begin); close != std::string_view::npos) {
        add("<think> block", text.substr(begin, close - begin));
      }
    }
  }
  return out;
}

bool loses_reasoning(const Json& messages, std::string_view rendered) {
  return std::ranges::any_of(messages, [&](const Json& message) {
    return std::ranges::any_of(reasoning_of(message), [&](const Reasoning& reasoning) {
      return !keeps_text(reasoning.text, rendered);
    });
  });
}

// Everything of the messages that is not in the rendered text, in words.
std::vector<std::string> lost_parts(const Json& messages, std::string_view rendered) {
  std::vector<std::string> lost;
  for (size_t i = 0; i < messages.size(); ++i) {
    const Json& message = messages[i];
    const std::string role = message["role"].get<std::string>();
    const auto kept = [&](std::string_view text) { return keeps_text(text, rendered); };
    if (!std::ranges::all_of(texts_of(message), kept)) {
      lost.push_back(fmt::format("message {} ({})", i + 1, role));
    }
    for (const Reasoning& reasoning : reasoning_of(message)) {
      if (!kept(reasoning.text)) {
        lost.push_back(fmt::format("the {} of message {} ({})", reasoning.where, i + 1, role));
      }
    }
  }
  return lost;
}

std::string shown(const Error& error) {
  return fmt::format("{}: {}", error.code().text(), error.message());
}

bool has_role(const Json& messages, std::string_view role) {
  return std::ranges::any_of(messages, [&](const Json& m) { return m["role"] == role; });
}

[[noreturn]] void fail_without_template() {
  throw Error("D040", "the data are conversations, and the model has no chat template")
      .hint("give one with --chat_template_path, for example the folder of an instruct model");
}

[[noreturn]] void fail_plain_row(const std::string& what) {
  throw Error("D041",
              fmt::format("assistant_only_loss needs conversations, these data are {}", what))
      .hint("leave --assistant_only_loss out");
}

}  // namespace

Renderer::Renderer(const RowShape& shape, const DataOptions& options, const Tokenizer& tokenizer,
                   const ChatTemplate* chat_template, int64_t vocab)
    : shape_(shape),
      tokenizer_(tokenizer),
      vocab_(vocab > 0 ? vocab : tokenizer.vocab_size()),
      eos_(options.eos_token.value_or(tokenizer.eos_token())),
      completion_only_(options.completion_only_loss),
      assistant_only_(options.assistant_only_loss),
      prepared_(options.skips_preparation()),
      documents_apart_(options.padding_free && !options.packing) {
  if (chat_template != nullptr) {
    template_ = *chat_template;
    marked_template_ = chat_template->for_assistant_mask();
  } else if (shape.has_conversations()) {
    fail_without_template();
  }
  const bool only_plain = !shape.has_conversations() && !shape.has(RowKind::tokens);
  if (assistant_only_ && only_plain) {
    fail_plain_row(shape.report());
  }
  if (marked_template_ && shape.has_conversations() && (assistant_only_ || shape.has_switches())) {
    turn_end_trained_ = covers_turn_end();
  }
  if (!eos_.empty() && !tokenizer.id_of(eos_)) {
    throw Error("D046", fmt::format("the eos_token \"{}\" is not a token of this tokenizer", eos_))
        .hint("give a token that is in the vocabulary with --eos_token");
  }
}

std::string Renderer::trained_tokens() const {
  if (shape_.has(RowKind::tokens)) {
    return "the labels given, or what the masks leave";
  }
  const std::string_view without_end =
      turn_end_trained_ ? ""
                        : " (without the end of the turn, which the template's {% generation %} "
                          "leaves out: the model will not learn to stop)";
  const bool completions = shape_.has_completions() && completion_only_.value_or(true);
  if (assistant_only_) {
    return fmt::format("the assistant's turns{}{}{}", completions ? " of the completion" : "",
                       shape_.has_switches() ? ", as each message's own switch says" : "",
                       without_end);
  }
  std::string part = completions ? "the completion" : "all tokens";
  if (shape_.has_switches()) {
    part += fmt::format(
        "; where messages have a switch of their own, the assistant's turns that it allows{}",
        without_end);
  }
  return part;
}

std::string Renderer::trained_part() const {
  const bool fallback = shape_.has_conversations() && template_ && template_->name() == "chatml";
  return trained_tokens() +
         (fallback ? "; rendered as ChatML, because the model has no chat template" : "");
}

RenderedRow Renderer::render(const Json& row, const std::string& place, Tokenizer::Scratch& scratch,
                             Losses losses) const {
  try {
    return render_read(shape_.read(row, place), row, place, scratch, losses);
  } catch (const Error& e) {
    if (losses == Losses::refuse) {
      throw;
    }
    RenderedRow nothing;
    nothing.stops = shown(e);
    return nothing;
  }
}

RenderedRow Renderer::render_read(const ShapedRow& shaped, const Json& row,
                                  const std::string& place, Tokenizer::Scratch& scratch,
                                  Losses losses) const {
  if (prepared_ && shaped.kind != RowKind::tokens) {
    throw Error("D054", "skip_prepare_dataset needs rows with input_ids, and this one has none")
        .at(place);
  }
  try {
    return render_shaped(shaped, scratch, losses);
  } catch (Error& e) {
    if (e.code() == kTextIsNotUtf8) {
      throw Error("D013", "this row's text is not valid UTF-8")
          .at(place)
          .hint("save the file as UTF-8; where it is Latin-1: iconv -f LATIN1 -t UTF-8");
    }
    if (e.code() == jinja::kRaised) {
      throw Error("D055", fmt::format("the chat template refuses this row: {}; the row is {}",
                                      e.message(), preview(row)))
          .at(place)
          .hint("repair or remove the row, or use another template: --chat_template_path");
    }
    throw e.context(fmt::format("{}, the row {}", place, preview(row))).at(place);
  }
}

RenderedRow Renderer::render_shaped(const ShapedRow& row, Tokenizer::Scratch& scratch,
                                    Losses losses) const {
  const bool plain = row.kind == RowKind::text || row.kind == RowKind::prompt_completion;
  if (assistant_only_ && plain) {
    fail_plain_row(row.kind == RowKind::text ? "text" : "prompt and completion");
  }
  switch (row.kind) {
    case RowKind::text:
      return render_text(with_eos(row.text), scratch);
    case RowKind::prompt_completion:
      return render_prompt_completion(row, scratch);
    case RowKind::messages:
    case RowKind::messages_and_completion: {
      RenderedRow out = render_messages(row, scratch, losses);
      out.conversation = true;
      return out;
    }
    case RowKind::tokens:
      return render_tokens(row);
  }
  return {};
}

std::string Renderer::with_eos(std::string text) const {
  if (!text.ends_with(eos_)) {
    text += eos_;
  }
  return text;
}

// Text that was rendered with a template before already begins with BOS, and the tokenizer adds its
// own: the model would see two.
void Renderer::drop_second_bos(RenderedRow& row) const {
  auto& ids = row.example.input_ids;
  const auto bos = tokenizer_.bos_id();
  if (bos && ids.size() > 1 && ids[0] == *bos && ids[1] == *bos &&
      row.text.starts_with(tokenizer_.bos_token())) {
    ids.erase(ids.begin());
    row.second_bos = true;
  }
}

// The completion begins where the two tokenisations part, which is mostly, but not always, after
// the prompt.
void Renderer::mask_prompt(RenderedRow& row, const std::vector<int32_t>& prompt_ids) const {
  const auto& ids = row.example.input_ids;
  const auto parted = std::ranges::mismatch(prompt_ids, ids);
  row.prefix_mismatch = parted.in1 != prompt_ids.end();
  if (completion_only_.value_or(true)) {
    const auto prompt = parted.in2 - ids.begin();
    std::fill_n(row.example.labels.begin(), prompt, kIgnored);
  }
}

RenderedRow Renderer::render_text(std::string text, Tokenizer::Scratch& scratch) const {
  RenderedRow out{.example = {}, .text = std::move(text)};
  tokenizer_.encode(out.text, true, scratch, out.example.input_ids);
  drop_second_bos(out);
  out.example.labels = out.example.input_ids;
  return out;
}

RenderedRow Renderer::render_prompt_completion(const ShapedRow& row,
                                               Tokenizer::Scratch& scratch) const {
  RenderedRow prompt = render_text(row.prompt, scratch);
  RenderedRow out = render_text(row.prompt + with_eos(row.completion), scratch);
  mask_prompt(out, prompt.example.input_ids);
  return out;
}

RenderedChat Renderer::render_chat(const ShapedRow& row, const Json& messages, bool prompt) const {
  RenderOptions options;
  options.add_generation_prompt = prompt;
  options.tools = row.tools;
  options.kwargs = row.template_kwargs;
  return template_of(row).render(messages, options);
}

// The template's own marks where it has them, else the turns found in its text.
std::vector<Span> Renderer::trained_spans(const ShapedRow& row, const RenderedChat& chat) const {
  const bool speaks = has_role(row.messages, "assistant");
  if (chat.has_generation_markers) {
    if (speaks && chat.generation.empty()) {
      throw Error("D045", "the chat template marks nothing of this row as the assistant's")
          .hint("the {% generation %} block of the template must cover every assistant turn");
    }
    return chat.generation;
  }
  RenderOptions options;
  options.tools = row.tools;
  options.kwargs = row.template_kwargs;
  AssistantSpans found = assistant_spans(*marked_template_, row.messages, options, chat.text);
  if (!found.missing.empty()) {
    throw Error("D045", fmt::format("message {} is the assistant's, and its place in the text that "
                                    "the chat template renders cannot be told",
                                    found.missing[0] + 1))
        .hint(
            "mark the assistant's turns with {% generation %} in the chat template, or leave "
            "--assistant_only_loss out");
  }
  return found.spans;
}

// The spans of the turns that their messages let be trained.
std::vector<Span> Renderer::switched_spans(const ShapedRow& row, const RenderedChat& chat) const {
  RenderOptions options;
  options.tools = row.tools;
  options.kwargs = row.template_kwargs;
  const AssistantSpans found = assistant_spans(*marked_template_, row.messages, options, chat.text);
  if (found.turns.size() != found.spans.size() || !found.missing.empty()) {
    throw Error("D045",
                "the place of each assistant turn in the rendered text cannot be told, which "
                "the switches of this row's messages need")
        .hint("use a chat template with one {% generation %} block a turn: --chat_template_path");
  }
  std::vector<Span> spans;
  for (size_t i = 0; i < found.spans.size(); ++i) {
    if (row.trained_messages[found.turns[i]]) {
      spans.push_back(found.spans[i]);
    }
  }
  return spans;
}

// Looks at a short chat: whether the special token that follows the answer lies in a marked block.
// True where that cannot be told.
bool Renderer::covers_turn_end() const {
  const std::string answer = "0f4a1";
  try {
    const RenderedChat chat =
        marked_template_->render(Json::array({{{"role", "user"}, {"content", "hello"}},
                                              {{"role", "assistant"}, {"content", answer}}}),
                                 {});
    const size_t at = chat.text.rfind(answer);
    if (!chat.has_generation_markers || at == std::string::npos) {
      return true;
    }
    Encoding encoding;
    Tokenizer::Scratch scratch(tokenizer_);
    tokenizer_.encode_with_spans(chat.text, false, scratch, encoding);
    for (size_t i = 0; i < encoding.ids.size(); ++i) {
      if (encoding.spans[i].begin >= at + answer.size() && tokenizer_.is_special(encoding.ids[i])) {
        return std::ranges::any_of(chat.generation, [&](const Span& span) {
          return span.begin <= encoding.spans[i].begin && encoding.spans[i].begin < span.end;
        });
      }
    }
  } catch (const Error&) {  // a template with needs of its own
  }
  return true;
}

RenderedRow Renderer::render_messages(const ShapedRow& row, Tokenizer::Scratch& scratch,
                                      Losses losses) const {
  if (row.messages.empty()) {
    return {};
  }
  if (!template_) {
    fail_without_template();
  }
  const RenderedChat chat = render_chat(row, row.messages, false);
  RenderedRow out{.example = {}, .text = chat.text};
  if (losses == Losses::tell) {
    out.lost = lost_parts(row.messages, chat.text);
  }
  out.lost_reasoning = loses_reasoning(row.messages, chat.text);
  for (const char* role : {"user", "assistant"}) {
    if (keeps_some_turn(row.messages, role, chat.text)) {
      continue;
    }
    Error error("D044", fmt::format("the chat template leaves out every {} turn; it renders {}",
                                    role, preview(Json(chat.text))));
    if (losses == Losses::refuse) {
      throw error.hint("use a chat template for this kind of data: --chat_template_path");
    }
    out.stops = shown(error);
  }
  if (assistant_only(row)) {
    Encoding encoding;
    tokenizer_.encode_with_spans(out.text, false, scratch, encoding);
    out.example.input_ids = encoding.ids;
    out.example.labels = encoding.ids;
    out.without_assistant = !has_role(row.messages, "assistant");
    keep_spans(encoding,
               row.trained_messages.empty() ? trained_spans(row, chat) : switched_spans(row, chat),
               out.example);
  } else {
    tokenizer_.encode(out.text, false, scratch, out.example.input_ids);
    out.example.labels = out.example.input_ids;
  }
  if (row.kind == RowKind::messages_and_completion) {
    const auto end = row.messages.begin() + static_cast<long>(row.prompt_messages);
    std::vector<int32_t> prompt_ids;
    tokenizer_.encode(render_chat(row, Json(row.messages.begin(), end), true).text, false, scratch,
                      prompt_ids);
    mask_prompt(out, prompt_ids);
  }
  return out;
}

RenderedRow Renderer::render_tokens(const ShapedRow& row) const {
  for (const int32_t id : row.input_ids) {
    if (id < 0 || id >= vocab_) {
      throw Error("D047",
                  fmt::format("the token id {} is not in the vocabulary of {} tokens", id, vocab_))
          .hint("the rows were tokenised for another model");
    }
  }
  RenderedRow out{.example = {.input_ids = row.input_ids, .labels = row.labels, .documents = {}},
                  .text = {}};
  if (documents_apart_ && row.seq_lengths.size() > 1) {
    out.example.documents = row.seq_lengths;
  }
  if (row.labels.empty()) {
    if (prepared_ && (!row.completion_mask.empty() || !row.assistant_mask.empty())) {
      throw Error("D054",
                  "skip_prepare_dataset makes no labels of masks, and this row has a mask "
                  "and no labels")
          .hint(
              "give the rows labels (-100 where nothing is trained), or leave "
              "skip_prepare_dataset out");
    }
    // As in TRL, a row has a completion by itself only where it says what its prompt is.
    const bool completion_only = completion_only_.value_or(row.names_completion);
    out.mask_ignored =
        !completion_only && std::ranges::find(row.completion_mask, 0) != row.completion_mask.end();
    out.example.labels = row.input_ids;
    for (size_t i = 0; i < row.input_ids.size(); ++i) {
      const bool prompt =
          completion_only && !row.completion_mask.empty() && !row.completion_mask[i];
      const bool other = !row.assistant_mask.empty() && !row.assistant_mask[i];
      out.example.labels[i] = prompt || other ? kIgnored : row.input_ids[i];
    }
  }
  for (const int32_t label : out.example.labels) {
    if (label != kIgnored && (label < 0 || label >= vocab_)) {
      throw Error("D047", fmt::format("the label {} is neither -100 nor a token", label))
          .hint("labels are token ids, or -100 where nothing is trained");
    }
  }
  return out;
}

}  // namespace sft
