#include "text/gguf/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/json.h"
#include "text/gguf/merges.h"
#include "text/unicode.h"
#include "text/word_regexes.h"

namespace sft {
namespace {

enum TokenType { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5 };

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

// How one kind of "gpt2" vocabulary cuts words and treats whole words.
struct PreRule {
  std::string_view name;
  std::string_view regex;  // "" is the one ByteLevel has built in
  bool single_digits;      // digits are cut off first, one by one
  bool nfc;
  bool ignore_merges;
  bool add_bos;  // when the file does not say
};
constexpr std::array<PreRule, 8> pre_rules = {{
    {"smollm", "", true, false, false, false},
    {"gpt-2", "", false, false, false, false},
    {"qwen2", kQwen2Regex, false, true, false, false},
    {"qwen35", kQwen35Regex, false, true, false, false},
    {"llama-bpe", kLlama3Regex, false, false, true, true},
    {"smaug-bpe", kLlama3Regex, false, false, false, false},
    {"gpt-4o", kO200kRegex, false, false, false, false},
    {"tekken", kTekkenRegex, false, false, true, true},
}};

[[noreturn]] void misfit(std::string message) {
  throw Error("M113", std::move(message)).hint("the GGUF file is damaged; fetch it again");
}

const PreRule& pre_rule(const GgufVocabulary& v) {
  std::string known;
  for (const PreRule& rule : pre_rules) {
    if (rule.name == v.pre) {
      return rule;
    }
    known += known.empty() ? "" : ", ";
    known += rule.name;
  }
  throw Error("M112", fmt::format("the GGUF pre-tokenizer \"{}\" is not supported", v.pre))
      .hint(fmt::format("supported: {}; put the model's tokenizer.json beside it", known));
}

bool is_sentencepiece(const GgufVocabulary& v) {
  if (v.model != "gpt2" && v.model != "llama" && v.model != "gemma4") {
    throw Error("M112", fmt::format("the GGUF tokenizer model \"{}\" is not supported", v.model))
        .hint("supported: gpt2, llama, gemma4; put the model's tokenizer.json beside it");
  }
  return v.model != "gpt2";
}

bool adds_bos(const GgufVocabulary& v) {
  return v.bos_id && v.add_bos.value_or(is_sentencepiece(v) || pre_rule(v).add_bos);
}
bool adds_space(const GgufVocabulary& v) { return v.add_space_prefix.value_or(true); }

int type_of(const GgufVocabulary& v, size_t i) {
  return v.token_types.empty() ? 1 : v.token_types[i];
}

void check(const GgufVocabulary& v) {
  if (v.tokens.empty()) {
    misfit("the GGUF file has no tokens");
  }
  if (!v.token_types.empty() && v.token_types.size() != v.tokens.size()) {
    misfit(fmt::format("the GGUF file has {} tokens but {} token types", v.tokens.size(),
                       v.token_types.size()));
  }
  if (is_sentencepiece(v) && v.scores.size() != v.tokens.size()) {
    misfit(
        fmt::format("the GGUF file has {} tokens but {} scores", v.tokens.size(), v.scores.size()));
  }
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    if (find_invalid_utf8(v.tokens[i]) != std::string::npos) {
      misfit(fmt::format("the token {} of the GGUF file is not valid UTF-8", i));
    }
  }
  for (const auto& [name, id] : {std::pair{"bos", v.bos_id}, std::pair{"eos", v.eos_id},
                                 std::pair{"padding", v.pad_id}, std::pair{"unknown", v.unk_id}}) {
    if (id && (*id < 0 || static_cast<size_t>(*id) >= v.tokens.size())) {
      misfit(fmt::format("the {} token's id {} is outside of the {} tokens of the GGUF file", name,
                         *id, v.tokens.size()));
    }
  }
}

std::string token_text(const GgufVocabulary& v, std::optional<int64_t> id) {
  return id ? v.tokens[static_cast<size_t>(*id)] : "";
}

bool is_added(int type) { return type == kUnknown || type == kControl || type == kUserDefined; }

Json added_token(const std::string& content, int type) {
  Json token = Json::object();
  token["content"] = content;
  token["single_word"] = false;
  token["lstrip"] = false;
  token["rstrip"] = false;
  token["normalized"] = false;
  token["special"] = type != kUserDefined;
  return token;
}

Json added_tokens(const GgufVocabulary& v) {
  Json list = Json::array();
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    if (is_added(type_of(v, i))) {
      Json token = Json::object();
      token["id"] = i;
      token.update(added_token(v.tokens[i], type_of(v, i)));
      list.push_back(std::move(token));
    }
  }
  return list;
}

// Appended one by one: a look-up by key would make this quadratic.
Json vocab(const GgufVocabulary& v) {
  Json::object_t entries;
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    if (type_of(v, i) != kUnused) {
      entries.emplace_back(v.tokens[i], i);
    }
  }
  return Json(std::move(entries));
}

Json merges(const GgufVocabulary& v) {
  std::vector<std::string> lines = v.merges;
  if (v.model == "llama") {
    std::vector<ScoredToken> scored;
    for (size_t i = 0; i < v.tokens.size(); ++i) {
      if (type_of(v, i) == kNormal) {
        scored.push_back({v.tokens[i], static_cast<int32_t>(i), v.scores[i]});
      }
    }
    lines = merges_from_scores(scored);
  }
  for (const std::string& line : lines) {
    if (std::count(line.begin(), line.end(), ' ') != 1) {
      misfit(fmt::format("the merge \"{}\" of the GGUF file is not two tokens with a space between",
                         line));
    }
  }
  return Json(lines);
}

Json byte_level(bool use_regex) {
  return Json{{"type", "ByteLevel"},
              {"add_prefix_space", false},
              {"trim_offsets", true},
              {"use_regex", use_regex}};
}

Json byte_level_pre_tokenizer(const PreRule& rule) {
  if (rule.regex.empty() && !rule.single_digits) {
    return byte_level(true);
  }
  Json first = Json{{"type", "Digits"}, {"individual_digits", true}};
  if (!rule.regex.empty()) {
    first = Json{{"type", "Split"},
                 {"pattern", Json{{"Regex", std::string(rule.regex)}}},
                 {"behavior", "Isolated"},
                 {"invert", false}};
  }
  return Json{{"type", "Sequence"},
              {"pretokenizers", Json::array({first, byte_level(rule.regex.empty())})}};
}

Json replace(std::string_view from, std::string_view to) {
  return Json{{"type", "Replace"},
              {"pattern", Json{{"String", std::string(from)}}},
              {"content", std::string(to)}};
}

Json sentencepiece_normalizer(bool with_space) {
  Json parts = Json::array();
  if (with_space) {
    parts.push_back(Json{{"type", "Prepend"}, {"prepend", std::string(kSpaceMark)}});
  }
  parts.push_back(replace(" ", kSpaceMark));
  return Json{{"type", "Sequence"}, {"normalizers", parts}};
}

Json sentencepiece_decoder(bool with_space) {
  Json parts = Json::array(
      {replace(kSpaceMark, " "), Json{{"type", "ByteFallback"}}, Json{{"type", "Fuse"}}});
  if (with_space) {
    parts.push_back(Json{{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  return Json{{"type", "Sequence"}, {"decoders", parts}};
}

// The special tokens around a text, or null.
Json post_processor(const GgufVocabulary& v) {
  Json single = Json::array(), pair = Json::array(), specials = Json::object();
  const auto add_special = [&](int64_t id, int type_id, Json& target) {
    const std::string text = token_text(v, id);
    target.push_back(Json{{"SpecialToken", Json{{"id", text}, {"type_id", type_id}}}});
    specials[text] =
        Json{{"id", text}, {"ids", Json::array({id})}, {"tokens", Json::array({text})}};
  };
  const bool with_eos = v.eos_id && v.add_eos.value_or(false);
  if (!adds_bos(v) && !with_eos) {
    return nullptr;
  }
  for (const auto& [name, type_id] : {std::pair{"A", 0}, std::pair{"B", 1}}) {
    for (Json* target : {&single, &pair}) {
      if (target == &single && type_id == 1) {
        continue;
      }
      if (adds_bos(v)) {
        add_special(*v.bos_id, type_id, *target);
      }
      target->push_back(Json{{"Sequence", Json{{"id", name}, {"type_id", type_id}}}});
      if (with_eos) {
        add_special(*v.eos_id, type_id, *target);
      }
    }
  }
  return Json{{"type", "TemplateProcessing"},
              {"single", single},
              {"pair", pair},
              {"special_tokens", specials}};
}

Json bpe_model(const GgufVocabulary& v) {
  const bool spm = is_sentencepiece(v);
  Json model = Json::object();
  model["type"] = "BPE";
  model["dropout"] = nullptr;
  model["unk_token"] = spm && v.unk_id ? Json(token_text(v, v.unk_id)) : Json(nullptr);
  model["continuing_subword_prefix"] = nullptr;
  model["end_of_word_suffix"] = nullptr;
  model["fuse_unk"] = spm;
  model["byte_fallback"] = spm;
  model["ignore_merges"] = !spm && pre_rule(v).ignore_merges;
  model["vocab"] = vocab(v);
  model["merges"] = merges(v);
  return model;
}

}  // namespace

Json tokenizer_json_from_gguf(const GgufVocabulary& v) {
  check(v);
  const bool spm = is_sentencepiece(v);
  Json file = Json::object();
  file["version"] = "1.0";
  file["truncation"] = nullptr;
  file["padding"] = nullptr;
  file["added_tokens"] = added_tokens(v);
  if (spm) {
    file["normalizer"] = sentencepiece_normalizer(adds_space(v));
    file["pre_tokenizer"] = nullptr;
  } else {
    file["normalizer"] = pre_rule(v).nfc ? Json{{"type", "NFC"}} : Json(nullptr);
    file["pre_tokenizer"] = byte_level_pre_tokenizer(pre_rule(v));
  }
  file["post_processor"] = post_processor(v);
  file["decoder"] = spm ? sentencepiece_decoder(adds_space(v)) : byte_level(true);
  file["model"] = bpe_model(v);
  return file;
}

Json tokenizer_config_from_gguf(const GgufVocabulary& v) {
  check(v);
  Json config = Json::object();
  config["add_bos_token"] = adds_bos(v);
  config["add_eos_token"] = v.eos_id && v.add_eos.value_or(false);
  config["add_prefix_space"] = is_sentencepiece(v) && adds_space(v);
  Json::object_t decoder;
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    if (is_added(type_of(v, i))) {
      decoder.emplace_back(std::to_string(i), added_token(v.tokens[i], type_of(v, i)));
    }
  }
  config["added_tokens_decoder"] = Json(std::move(decoder));
  for (const auto& [key, id] :
       {std::pair{"bos_token", v.bos_id}, std::pair{"eos_token", v.eos_id},
        std::pair{"pad_token", v.pad_id}, std::pair{"unk_token", v.unk_id}}) {
    config[key] = id ? Json(token_text(v, id)) : Json(nullptr);
  }
  if (!v.chat_template.empty()) {
    config["chat_template"] = v.chat_template;
  }
  config["clean_up_tokenization_spaces"] = false;
  if (v.context_length) {
    config["model_max_length"] = *v.context_length;
  }
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  return config;
}

}  // namespace sft
