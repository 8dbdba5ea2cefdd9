#include "text/tokenizer.h"
#include "core/json.h"
#include "support/paths.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <thread>

#include "core/error.h"
#include "core/file.h"

namespace sft {
namespace {

Json golden(const std::string& kind) {
  return read_json(fs::path(SFT_TEST_DIR) / "text/golden" / fmt::format("tokenizer_{}.json", kind));
}

Tokenizer make(const std::string& kind) {
  return Tokenizer::from_json(golden(kind)["tokenizer"], Json(), kind);
}

std::vector<int32_t> flat(const std::vector<Span>& spans) {
  std::vector<int32_t> out;
  for (const Span span : spans) {
    out.push_back(static_cast<int32_t>(span.begin));
    out.push_back(static_cast<int32_t>(span.end));
  }
  return out;
}

// The code of the error that loading `json` throws, "" when it loads.
std::string load_error(const Json& json) {
  try {
    Tokenizer::from_json(json, Json(), "tokenizer.json");
  } catch (const Error& e) {
    EXPECT_FALSE(e.message().empty());
    return std::string(e.code().text());
  }
  return "";
}

class TokenizerGolden : public testing::TestWithParam<const char*> {};

TEST_P(TokenizerGolden, EncodesAndDecodesAsTheReference) {
  const Json file = golden(GetParam());
  const Tokenizer tokenizer = Tokenizer::from_json(file["tokenizer"], Json(), GetParam());
  Tokenizer::Scratch scratch(tokenizer);
  for (const Json& one : file["cases"]) {
    const auto text = one[0].get<std::string>();
    const auto ids = one[1].get<std::vector<int32_t>>();
    SCOPED_TRACE(one[0].dump());
    Encoding encoding;
    tokenizer.encode_with_spans(text, true, scratch, encoding);
    EXPECT_EQ(encoding.ids, ids);
    EXPECT_EQ(flat(encoding.spans), one[2].get<std::vector<int32_t>>());
    EXPECT_EQ(tokenizer.encode(text, true), ids);
    EXPECT_EQ(tokenizer.decode(ids, false), one[3].get<std::string>());
  }
}

TEST_P(TokenizerGolden, CachedWordsChangeNothing) {
  const Json file = golden(GetParam());
  const Tokenizer tokenizer = Tokenizer::from_json(file["tokenizer"], Json(), GetParam());
  Tokenizer::Scratch scratch(tokenizer);
  for (int round = 0; round < 2; ++round) {
    for (const Json& one : file["cases"]) {
      std::vector<int32_t> ids = {7};  // appended to, not replaced
      tokenizer.encode(one[0].get<std::string>(), true, scratch, ids);
      ids.erase(ids.begin());
      EXPECT_EQ(ids, one[1].get<std::vector<int32_t>>()) << one[0].dump();
    }
  }
}

TEST_P(TokenizerGolden, StreamsWhatDecodeGives) {
  const Json file = golden(GetParam());
  const Tokenizer tokenizer = Tokenizer::from_json(file["tokenizer"], Json(), GetParam());
  for (const Json& one : file["cases"]) {
    StreamDecoder stream(tokenizer, false);
    std::string text;
    for (const Json& id : one[1]) {
      text += stream.push(id.get<int32_t>());
    }
    text += stream.finish();
    EXPECT_EQ(text, one[3].get<std::string>()) << one[0].dump();
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, TokenizerGolden,
                         testing::Values("qwen", "llama3", "smollm", "gpt2", "tekken", "llama2",
                                         "gemma3", "metaspace", "words", "pieces", "unigram_bytes",
                                         "unigram_charsmap", "wordpiece", "wordlevel", "deepseek"),
                         [](const auto& kind) { return std::string(kind.param); });

TEST(Tokenizer, ManyThreadsEncodeAtOnce) {
  const Json file = golden("qwen");
  const Tokenizer tokenizer = Tokenizer::from_json(file["tokenizer"], Json(), "qwen");
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (const Json& one : file["cases"]) {
        wrong[t] +=
            tokenizer.encode(one[0].get<std::string>(), true) != one[1].get<std::vector<int32_t>>();
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(wrong, std::vector<int>(4));
}

TEST(Tokenizer, LeavesSpecialTokensOut) {
  const Tokenizer tokenizer = make("llama2");
  const auto with = tokenizer.encode("hello", true), without = tokenizer.encode("hello", false);
  ASSERT_EQ(with.size(), without.size() + 1);
  EXPECT_TRUE(tokenizer.is_special(with[0]));
  EXPECT_EQ(tokenizer.decode(with, true), "hello");
  EXPECT_EQ(tokenizer.token(with[0]), "<s>");
}

TEST(Tokenizer, ReadsTheConfiguration) {
  const Json config = Json::parse(
      R"({"bos_token": null, "eos_token": {"content": "<|im_end|>"}, "pad_token": "<|endoftext|>",
          "model_max_length": 32768})");
  const Tokenizer tokenizer = Tokenizer::from_json(golden("qwen")["tokenizer"], config, "qwen");
  EXPECT_EQ(tokenizer.bos_id(), std::nullopt);
  EXPECT_EQ(tokenizer.eos_token(), "<|im_end|>");
  EXPECT_EQ(tokenizer.eos_id(), tokenizer.id_of("<|im_end|>"));
  EXPECT_EQ(tokenizer.pad_id(), tokenizer.id_of("<|endoftext|>"));
  EXPECT_EQ(tokenizer.unk_id(), std::nullopt);
  EXPECT_EQ(tokenizer.model_max_length(), 32768);
  EXPECT_EQ(tokenizer.vocab_size(), *tokenizer.id_of("<tool>") + 1);
  EXPECT_FALSE(tokenizer.is_special(*tokenizer.id_of("<tool>")));
  const Tokenizer added =
      Tokenizer::from_json(golden("qwen")["tokenizer"], Json{{"unk_token", "nowhere"}}, "qwen");
  EXPECT_EQ(added.unk_id(), tokenizer.vocab_size());  // a new token, as in transformers
  EXPECT_EQ(added.vocab_size(), tokenizer.vocab_size() + 1);
  const Tokenizer endless =
      Tokenizer::from_json(golden("qwen")["tokenizer"], Json{{"model_max_length", 1e30}}, "qwen");
  EXPECT_EQ(endless.model_max_length(), std::nullopt);
}

TEST(Tokenizer, AVeryLongWordIsNotQuadratic) {
  const Tokenizer tokenizer = make("llama3");
  const std::string text(2'000'000, 'a');  // minutes, if it were
  const auto ids = tokenizer.encode(text, false);
  EXPECT_EQ(tokenizer.decode(ids, false), text);
}

TEST(Tokenizer, StreamHoldsBackHalfACharacter) {
  const Tokenizer tokenizer = make("qwen");
  StreamDecoder stream(tokenizer, true);
  const auto ids = tokenizer.encode("\xF0\x9F\xA7\xBF", false);
  ASSERT_GT(ids.size(), 1u);
  EXPECT_EQ(stream.push(ids[0]), "");
  EXPECT_EQ(stream.push(*tokenizer.id_of("<|im_end|>")), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
}

TEST(Tokenizer, RefusesTextThatIsNotUtf8) {
  const Tokenizer tokenizer = make("qwen");
  try {
    tokenizer.encode("abc\xFF", false);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), "M114");
    EXPECT_NE(e.message().find("byte 3"), std::string::npos);
  }
}

TEST(Tokenizer, RefusesByNameWhatItDoesNotSupport) {
  const Json good = golden("qwen")["tokenizer"];
  const auto with = [&](const char* pointer, const Json& value) {
    Json changed = good;
    changed[Json::json_pointer(pointer)] = value;
    return load_error(changed);
  };
  EXPECT_EQ(load_error(good), "");
  EXPECT_EQ(with("/model/type", "Magic"), "M101");
  EXPECT_EQ(with("/normalizer", Json{{"type", "Magic"}}), "M102");
  EXPECT_EQ(with("/pre_tokenizer", Json{{"type", "Magic"}}), "M103");
  EXPECT_EQ(with("/post_processor", Json{{"type", "Magic"}}), "M104");
  EXPECT_EQ(with("/decoder", Json{{"type", "Magic"}}), "M105");
  EXPECT_EQ(with("/model/dropout", 0.1), "M106");
  EXPECT_EQ(with("/model/merges", Json::array({"zz qq"})), "M107");
  EXPECT_EQ(with("/model/unk_token", "<nowhere>"), "M111");
  const auto with_regex = [&](const char* regex) {
    return with(
        "/pre_tokenizer",
        Json{{"type", "Split"}, {"pattern", Json{{"Regex", regex}}}, {"behavior", "Isolated"}});
  };
  EXPECT_EQ(with_regex("a|b"), "");
  EXPECT_EQ(with_regex("(a"), "M108");
  EXPECT_EQ(with_regex("[a&&b]"), "M108");
  EXPECT_EQ(with_regex("a(?i)b"), "M108");
  EXPECT_EQ(with_regex("\\X"), "M108");
}

TEST(Tokenizer, RefusesDamagedFiles) {
  const std::string good = golden("gemma3")["tokenizer"].dump();
  const auto code_of = [](const std::string& text) -> std::string {
    try {
      Tokenizer::from_text(text, Json(), "tokenizer.json");
    } catch (const Error& e) {
      return std::string(e.code().text());
    }
    return "";
  };
  EXPECT_EQ(code_of(good), "");
  EXPECT_EQ(code_of(""), "M010");
  EXPECT_EQ(code_of("{}"), "M100");
  EXPECT_EQ(code_of("[1, 2]"), "M100");
  EXPECT_EQ(code_of(good + "x"), "M010");
  EXPECT_EQ(code_of(R"({"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}})"), "M109");
  EXPECT_EQ(code_of(R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []}})"),
            "M109");
  EXPECT_EQ(code_of(R"({"model": {"type": "BPE", "vocab": {"a": 99999999999}, "merges": []}})"),
            "M109");
  EXPECT_EQ(code_of(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a"]}})"), "M100");
  EXPECT_EQ(code_of(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a"]]}})"), "M100");
  for (size_t cut = 1; cut < good.size(); cut += good.size() / 97) {
    EXPECT_NE(code_of(good.substr(0, cut)), "") << cut;
  }
}

TEST(Tokenizer, FlippedBytesNeverCrash) {
  const std::string good = golden("words")["tokenizer"].dump();
  for (size_t i = 0; i < good.size(); i += i < 2000 ? 3 : 131) {
    std::string damaged = good;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x15);
    try {
      const Tokenizer tokenizer = Tokenizer::from_text(damaged, Json(), "tokenizer.json");
      tokenizer.decode(tokenizer.encode("Some text, 1234 <unk> foo ABC!", true), false);
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace sft
