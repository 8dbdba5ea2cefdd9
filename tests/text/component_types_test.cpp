// The components of tokenizer.json with every value replaced by one of every other kind: what comes
// out is a tokenizer or an error with a code, and no list is read from what is none.
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/json.h"
#include "core/json_text.h"
#include "support/errors.h"
#include "text/tokenizer.h"

namespace sft {
namespace {

// One of each kind of component, with all of their fields.
const char* const kComponents[] = {
    R"({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"},
        {"type": "Replace", "pattern": {"String": "a"}, "content": "b"},
        {"type": "Prepend", "prepend": "a"}, {"type": "Strip", "strip_left": true, "strip_right": true},
        {"type": "StripAccents"}, {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
         "strip_accents": null, "lowercase": true}]}})",
    R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "a+"}, "behavior": "Isolated", "invert": false},
        {"type": "Digits", "individual_digits": true}, {"type": "Punctuation", "behavior": "Isolated"},
        {"type": "CharDelimiterSplit", "delimiter": "-"},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]}})",
    R"({"pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": true}})",
    R"({"post_processor": {"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
        {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "a", "type_id": 0}},
         {"Sequence": {"id": "A", "type_id": 0}}], "pair": [],
         "special_tokens": {"a": {"id": "a", "ids": [0], "tokens": ["a"]}}}]}})",
    R"({"post_processor": {"type": "RobertaProcessing", "sep": ["b", 1], "cls": ["a", 0],
        "trim_offsets": true, "add_prefix_space": false}})",
    R"({"decoder": {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "a"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": true}]}})",
    R"({"decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true}})",
    R"({"added_tokens": [{"id": 2, "content": "ab", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true}]})",
};

const char* const kValues[] = {"null",
                               "true",
                               "3",
                               "-1",
                               "1.5",
                               "\"x\"",
                               "[]",
                               "[\"x\"]",
                               "[3]",
                               "[[]]",
                               "{}",
                               R"({"type": "Sequence"})",
                               R"({"a": {"type": "NFC"}})"};

void pointers_of(const Json& json, const Json::json_pointer& at,
                 std::vector<Json::json_pointer>& out) {
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) {
      out.push_back(at / key);
      pointers_of(value, at / key, out);
    }
  } else if (json.is_array()) {
    for (size_t i = 0; i < json.size(); ++i) {
      out.push_back(at / i);
      pointers_of(json[i], at / i, out);
    }
  }
}

// "" or the code; a test failure where something else than an Error comes out.
std::string load(const Json& components) {
  Json file = {{"added_tokens", Json::array()},
               {"model",
                {{"type", "BPE"},
                 {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}}},
                 {"merges", Json::array({"a b"})},
                 {"unk_token", "a"}}}};
  for (const auto& [key, value] : components.items()) {
    file[key] = value;
  }
  return code_of([&] {
    const Tokenizer tokenizer = Tokenizer::from_json(file, Json::object(), "tokenizer.json");
    tokenizer.decode(tokenizer.encode("ab ba 13-1", true), false);
  });
}

TEST(TokenizerComponents, AValueOfAnotherKindIsATokenizerOrAnErrorWithACode) {
  int tried = 0, refused = 0;
  for (const char* text : kComponents) {
    const Json components = json_of(text);
    ASSERT_TRUE(components.is_object()) << text;
    EXPECT_EQ(load(components), "") << text;
    std::vector<Json::json_pointer> pointers;
    pointers_of(components, Json::json_pointer(), pointers);
    for (const Json::json_pointer& at : pointers) {
      for (const char* value : kValues) {
        Json changed = components;
        changed[at] = json_of(value);
        try {
          refused += load(changed).empty() ? 0 : 1;
        } catch (const std::exception& e) {
          ADD_FAILURE() << at.to_string() << " = " << value << ": " << e.what();
        }
        ++tried;
      }
    }
  }
  EXPECT_GT(tried, 1200);
  EXPECT_GT(refused, tried / 2);
}

TEST(TokenizerComponents, AListIsAList) {
  for (
      const char* text :
      {R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers": "Lowercase"}})",
       R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers": {"a": {"type": "Whitespace"}}}})",
       R"({"normalizer": {"type": "Sequence", "normalizers": {"a": {"type": "NFC"}}}})",
       R"({"decoder": {"type": "Sequence", "decoders": {"a": {"type": "Fuse"}}}})",
       R"({"post_processor": {"type": "Sequence", "processors": {"a": {"type": "ByteLevel"}}}})"}) {
    EXPECT_EQ(load(json_of(text)), "M100") << text;
  }
}

}  // namespace
}  // namespace sft
