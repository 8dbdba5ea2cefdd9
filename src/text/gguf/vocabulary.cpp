#include "text/gguf/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <unordered_map>

#include "core/error.h"
#include "core/json.h"
#include "core/json_text.h"
#include "core/numbers.h"
#include "text/gguf/sentencepiece.h"
#include "text/word_regexes.h"

namespace sft {

namespace {

enum TokenType : int32_t { kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";
constexpr float kAddedScore = -1000.0F, kUnusedScore = -10000.0F;

// llama.cpp's names for a regular expression by which words are cut.
struct PreName {
  std::string_view name;
  std::string_view regex;
  std::optional<bool> ignore_merges;  // where the name says that, too
};
constexpr std::array<PreName, 6> kPreNames{{
    {"qwen2", kQwen2Regex, {}},
    {"llama-bpe", kLlama3Regex, true},
    {"smaug-bpe", kLlama3Regex, false},
    {"tekken", kTekkenRegex, {}},
    {"qwen35", kQwen35Regex, {}},
    {"gpt-4o", kO200kRegex, {}},
}};

[[noreturn]] void fail_kind(const std::string& what) {
  throw Error("M281", fmt::format("the tokenizer {}, for which GGUF has no kind", what))
      .hint("supported: byte-level BPE, and SentencePiece's BPE with bytes");
}

std::string type_of(const Json& part) {
  return part.is_object() && part.contains("type") ? part.value("type", "") : "";
}

// The added tokens by id: their text, and whether they are special.
struct Added {
  std::string text;
  bool special = false;
};

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

std::string content_of(const Json& token) {
  if (token.is_string()) {
    return token.get<std::string>();
  }
  return token.is_object() ? token.value("content", "") : "";
}

// Some files do not call special what is: a token for the end of a turn, of a text, and so on.
bool looks_special(const std::string& text) {
  const auto between = [&](std::string_view first, std::string_view last) {
    return text.starts_with(first) && text.ends_with(last);
  };
  return text == "<pad>" || text == "<mask>" || text == "<2mass>" || text == "[@BOS@]" ||
         between("<|", "|>") || between("<｜", "｜>") || between("<unused", ">");
}

bool is_byte(std::string_view text) {
  return text.size() == 6 && text.starts_with("<0x") && text.ends_with(">");
}

// Of Gemma 4, which a runtime's reader of answers looks for.
constexpr std::array<std::string_view, 7> kSeenTokens{
    "<|channel>",       "<channel|>",       "<|tool_call>", "<tool_call|>",
    "<|tool_response>", "<tool_response|>", "<|\"|>"};

class VocabularyReader {
 public:
  VocabularyReader(const std::function<std::optional<std::string>(const std::string&)>& file_text,
                   const Json& config, int64_t vocab, std::string pre)
      : config_(config), vocab_(vocab), pre_(std::move(pre)) {
    if (const auto text = file_text("tokenizer.json")) {
      tokenizer_ = json_of(*text);
    }
    tokenizer_config_ = json_of(file_text("tokenizer_config.json").value_or("{}"));
    pieces_ = file_text("tokenizer.model");
    if (!tokenizer_.is_object() && !pieces_) {
      fail_kind("has no tokenizer.json");
    }
    if (!tokenizer_config_.is_object()) {
      tokenizer_config_ = Json::object();
    }
  }

  WrittenVocabulary run() {
    read_added();
    const bool bytes_in_pieces = model().is_object() && model().value("byte_fallback", false);
    if (config_.value("model_type", "") == "gemma4_text") {
      if (!bytes_in_pieces) {
        fail_kind("is none of Gemma 4");
      }
      read_gemma4();
    } else if (pieces_) {
      read_pieces();
    } else if (type_of(model()) != "BPE") {
      fail_kind(fmt::format("is {}", type_of(model())));
    } else if (bytes_in_pieces) {
      read_scored();
    } else {
      read_byte_level();
    }
    read_special();
    return std::move(out_);
  }

 private:
  const Json& model() const {
    static const Json none;
    return tokenizer_.is_object() && tokenizer_.contains("model") ? tokenizer_["model"] : none;
  }
  const Json& part(const char* name) const {
    static const Json none;
    return tokenizer_.is_object() && tokenizer_.contains(name) ? tokenizer_[name] : none;
  }

  void read_added() {
    for (const Json& token : part("added_tokens")) {
      if (token.is_object() && token.contains("id")) {
        added_[token["id"].get<int64_t>()] = {content_of(token), token.value("special", false)};
      }
    }
    if (tokenizer_config_.contains("added_tokens_decoder")) {
      for (const auto& [id, token] : tokenizer_config_["added_tokens_decoder"].items()) {
        if (const auto n = whole_number(id)) {
          added_[*n] = {content_of(token), token.value("special", false)};
        }
      }
    }
  }

  void set_size(int64_t tokens) {
    for (int64_t i = 0; i < tokens; ++i) {
      out_.tokens.push_back(fmt::format("[PAD{}]", i));
    }
    out_.types.assign(static_cast<size_t>(tokens), kUnused);
  }
  // Nothing for an id beyond the embedding, which no text can have.
  void put(int64_t id, std::string text, int32_t type) {
    if (id >= 0 && id < vocab_) {
      out_.tokens[static_cast<size_t>(id)] = std::move(text);
      out_.types[static_cast<size_t>(id)] = type;
    }
  }
  void put_added() {
    for (const auto& [id, token] : added_) {
      const bool control = token.special || looks_special(token.text);
      put(id, control ? token.text : replaced(token.text, kSpaceMark, " "),
          control ? kControl : kUserDefined);
      if (!out_.scores.empty() && id < vocab_) {
        out_.scores[static_cast<size_t>(id)] = kAddedScore;
      }
    }
  }
  std::unordered_map<std::string_view, int64_t> put_vocab() {
    std::unordered_map<std::string_view, int64_t> ids;
    for (const auto& [text, id] : model().at("vocab").items()) {
      put(id.get<int64_t>(), text, kNormal);
      ids.emplace(text, id.get<int64_t>());
    }
    return ids;
  }

  void read_byte_level() {
    out_.model = "gpt2";
    out_.pre = pre_name();
    set_size(vocab_);
    put_vocab();
    put_added();
    put_merges();
  }
  void put_merges() {
    for (const Json& merge : model().at("merges")) {
      if (merge.is_string()) {
        out_.merges.push_back(merge.get<std::string>());
      } else {
        out_.merges.push_back(replaced(merge.at(0).get<std::string>(), " ", "\u0120") + " " +
                              replaced(merge.at(1).get<std::string>(), " ", "\u0120"));
      }
    }
  }

  // Pieces with merges. What the tokenizer's settings name is special, whatever the lists of added
  // tokens say of it; some that stand around thoughts and tools are to be seen.
  void read_gemma4() {
    out_.model = "gemma4";
    set_size(vocab_);
    out_.scores.assign(static_cast<size_t>(vocab_), kAddedScore);
    const auto ids = put_vocab();
    for (const auto& [id, token] : added_) {
      if (!ids.contains(token.text)) {
        put(id, token.text, kUserDefined);
      }
    }
    const std::set<std::string> special = named_tokens();
    for (size_t i = 0; i < out_.tokens.size(); ++i) {
      const std::string& text = out_.tokens[i];
      if (std::ranges::find(kSeenTokens, text) != kSeenTokens.end()) {
        out_.types[i] = kUserDefined;
      } else if (out_.types[i] == kNormal && is_byte(text)) {
        out_.types[i] = kByte;
      } else if (out_.types[i] != kUnused && special.contains(text)) {
        out_.types[i] = kControl;
      }
    }
    put_merges();
  }
  std::set<std::string> named_tokens() const {
    std::set<std::string> names;
    for (const auto& [key, value] : tokenizer_config_.items()) {
      if (key.ends_with("_token")) {
        names.insert(content_of(value));
      } else if (key.ends_with("_special_tokens") && (value.is_array() || value.is_object())) {
        for (const Json& token : value) {
          names.insert(content_of(token));
        }
      }
    }
    names.erase("");
    return names;
  }

  void read_pieces() {
    start_scored();
    int64_t id = 0;
    for (const SentencePiece& piece : read_sentencepieces(*pieces_)) {
      const int32_t type = piece.type == kUserDefined ? kNormal : piece.type;
      put(id, piece.text, type);
      if (id < vocab_) {
        out_.scores[static_cast<size_t>(id)] = piece.score;
      }
      ++id;
    }
    put_added();
  }

  // There is no tokenizer.model: the scores are made so that pieces are joined in the order of the
  // merges.
  void read_scored() {
    start_scored();
    const auto ids = put_vocab();
    for (int64_t i = 0; i < vocab_; ++i) {
      const std::string& text = out_.tokens[static_cast<size_t>(i)];
      if (out_.types[static_cast<size_t>(i)] == kNormal) {
        out_.scores[static_cast<size_t>(i)] = 0;
        if (is_byte(text)) {
          out_.types[static_cast<size_t>(i)] = kByte;
        }
      }
    }
    float rank = 0;
    std::unordered_map<int64_t, bool> scored;
    for (const Json& merge : model().at("merges")) {
      std::string joined;
      if (merge.is_string()) {
        const auto line = merge.get<std::string>();
        const size_t space = line.find(' ');
        joined = line.substr(0, space) + line.substr(space + 1);
      } else {
        joined = merge.at(0).get<std::string>() + merge.at(1).get<std::string>();
      }
      const auto id = ids.find(joined);
      if (id != ids.end() && id->second < vocab_ && scored.emplace(id->second, true).second) {
        out_.scores[static_cast<size_t>(id->second)] = rank;
      }
      rank -= 1;
    }
    put_added();
    if (const auto unknown = ids.find(model().value("unk_token", ""));
        unknown != ids.end() && unknown->second < vocab_) {
      out_.types[static_cast<size_t>(unknown->second)] = 2;
    }
  }

  void start_scored() {
    out_.model = "llama";
    out_.pre = "default";
    set_size(vocab_);
    out_.scores.assign(static_cast<size_t>(vocab_), kUnusedScore);
  }

  // What cuts words: {a regular expression, whether digits are cut off first}.
  std::string pre_name() const {
    if (!pre_.empty()) {
      return pre_;
    }
    const Json& cut = part("pre_tokenizer");
    Json parts =
        type_of(cut) == "Sequence" ? cut.value("pretokenizers", Json::array()) : Json::array({cut});
    std::string regex;
    bool digits = false, own = false, other = parts.empty();
    for (const Json& p : parts) {
      const std::string type = type_of(p);
      if (type == "Split" && regex.empty() && p.contains("pattern")) {
        regex = p["pattern"].value("Regex", "");
        other |= p.value("behavior", "") != "Isolated" || p.value("invert", false);
      } else if (type == "Digits") {
        digits = p.value("individual_digits", false);
        other |= !digits;
      } else if (type == "ByteLevel") {
        own = p.value("use_regex", true);
        other |= p.value("add_prefix_space", false);
      } else {
        other = true;
      }
    }
    if (!other && own && regex.empty()) {
      return digits ? "smollm" : "gpt-2";
    }
    const bool ignore_merges = model().value("ignore_merges", false);
    for (const PreName& known : kPreNames) {
      if (!other && !own && !digits && known.regex == regex &&
          known.ignore_merges.value_or(ignore_merges) == ignore_merges) {
        return std::string(known.name);
      }
    }
    throw Error("M282",
                "llama.cpp has no name that is known here for how this tokenizer cuts words")
        .hint("name one with --pre, as llama.cpp's file src/llama-vocab.cpp lists them");
  }

  // The special tokens, and which of them are put around a text.
  void read_special() {
    std::vector<std::string> kinds{"bos", "eos", "unk", "sep", "pad", "cls", "mask"};
    std::map<std::string, std::string> named;
    for (const std::string& kind : kinds) {
      if (tokenizer_config_.contains(kind + "_token")) {
        named[kind] = content_of(tokenizer_config_[kind + "_token"]);
      }
    }
    if (tokenizer_.is_object()) {
      read_around(kinds, named);
    }
    for (const std::string& kind : kinds) {
      const std::string key = "add_" + kind + "_token";
      if (tokenizer_config_.contains(key) && tokenizer_config_[key].is_boolean()) {
        add(kind, tokenizer_config_[key].get<bool>(), false);
      }
      for (const Json& token : part("added_tokens")) {
        if (!named[kind].empty() && content_of(token) == named[kind]) {
          add_id(kind, token.value("id", int64_t{-1}));
          break;
        }
      }
    }
    for (const std::string& kind : kinds) {
      if (config_.contains(kind + "_token_id") && config_[kind + "_token_id"].is_number_integer()) {
        add_id(kind, config_[kind + "_token_id"].get<int64_t>());
      }
    }
  }

  void read_around(std::vector<std::string>& kinds, std::map<std::string, std::string>& named) {
    const Json& after = part("post_processor");
    const Json parts = after.is_object() && after.contains("processors") ? after["processors"]
                                                                         : Json::array({after});
    for (const Json& p : parts) {
      if (type_of(p) == "ByteLevel") {
        add("bos", false, false);
        add("eos", false, false);
      } else if (type_of(p) == "TemplateProcessing") {
        const Json single = p.value("single", Json::array());
        const auto special = [](const Json& item) {
          return item.contains("SpecialToken") ? item["SpecialToken"].value("id", "") : "";
        };
        const bool around = single.size() > 1;
        const std::string first = around ? special(single.front()) : "";
        const std::string last = around ? special(single.back()) : "";
        if (!first.empty()) {
          if (named["bos"].empty()) {
            named["bos"] = first;
          }
          add("bos", first == named["bos"] || first == named["cls"], true);
        }
        if (!last.empty()) {
          if (last != named["eos"]) {  // the turn's end is then another token
            kinds.emplace_back("eot");
            named["eot"] = named["eos"];
            named["eos"] = last;
          }
          add("eos", true, true);
        }
        read_between(p.value("pair", Json::array()), first, last, named);
      }
    }
  }

  // Whether a pair of texts has a separator: what stands between them and is none of what is
  // around.
  void read_between(const Json& pair, const std::string& first, const std::string& last,
                    std::map<std::string, std::string>& named) {
    const auto special = [](const Json& item) {
      return item.contains("SpecialToken") ? item["SpecialToken"].value("id", "") : "";
    };
    size_t begin = 0, end = pair.size();
    begin += static_cast<size_t>(end > 0 && !first.empty() && special(pair.front()) == first);
    end -= static_cast<size_t>(end > begin && !last.empty() && special(pair.back()) == last);
    if (end < begin + 3) {
      return;
    }
    bool separated = false;
    for (size_t i = begin + 1; i + 1 < end; ++i) {
      const std::string between = special(pair[i]);
      const bool is_one = !between.empty() && (between == named["sep"] || between == named["eos"]);
      separated |= is_one && (i > begin + 1 || last.empty());
    }
    add("sep", separated, true);
  }

  void add(const std::string& kind, bool value, bool wins) {
    const auto it = std::ranges::find(out_.adds, kind, [](const auto& a) { return a.first; });
    if (it == out_.adds.end()) {
      out_.adds.emplace_back(kind, value);
    } else if (wins) {
      it->second = value;
    }
  }
  void add_id(const std::string& kind, int64_t id) {
    const bool there =
        std::ranges::any_of(out_.ids, [&](const auto& i) { return i.first == kind; });
    if (!there && id >= 0 && id < vocab_) {
      out_.ids.emplace_back(kind, id);
    }
  }

  const Json& config_;
  int64_t vocab_;
  std::string pre_;
  Json tokenizer_, tokenizer_config_;
  std::optional<std::string> pieces_;
  std::map<int64_t, Added> added_;
  WrittenVocabulary out_;
};

}  // namespace

WrittenVocabulary vocabulary_for_gguf(
    const std::function<std::optional<std::string>(const std::string&)>& file_text,
    const Json& config, int64_t vocab, const std::string& pre) {
  try {
    return VocabularyReader(file_text, config, vocab, pre).run();
  } catch (const Json::exception& e) {
    throw Error("M281",
                fmt::format("the tokenizer has a part of an unexpected kind ({})", e.what()))
        .hint("fetch the model's files again");
  }
}

}  // namespace sft
