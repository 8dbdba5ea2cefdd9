// Tokenizer files of the other models, damaged on purpose: a clean error each, never a crash.
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "support/errors.h"
#include "support/paths.h"
#include "text/charsmap.h"
#include "text/tokenizer.h"

namespace sft {
namespace {

std::string load_error(const std::string& text) {
  return code_of([&] { Tokenizer::from_text(text, Json(), "tokenizer.json"); });
}

std::string model(const std::string& fields) { return "{\"model\": {" + fields + "}}"; }

std::string encode_error(const std::string& fields, const std::string& text) {
  const Tokenizer tokenizer = Tokenizer::from_text(model(fields), Json(), "tokenizer.json");
  return code_of([&] { tokenizer.encode(text, true); });
}

std::string base64(const std::string& bytes) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k) {
      bits = bits << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    }
    for (size_t k = 0; k < 4; ++k) {
      out += i + k > bytes.size() ? '=' : digits[bits >> (18 - 6 * k) & 63];
    }
  }
  return out;
}

std::string little_endian(uint32_t value) {
  std::string out;
  for (int shift = 0; shift < 32; shift += 8) {
    out += static_cast<char>(value >> shift & 0xFF);
  }
  return out;
}

std::string charsmap(const std::vector<uint32_t>& units, const std::string& replacements) {
  std::string out = little_endian(static_cast<uint32_t>(units.size() * 4));
  for (const uint32_t unit : units) {
    out += little_endian(unit);
  }
  return base64(out + replacements);
}

// Maps "a" to what stands at `value`: the root's children lie at 256 ^ byte, a leaf at base 512.
std::vector<uint32_t> maps_a(uint32_t value) {
  std::vector<uint32_t> units(1024);
  units[0] = 256u << 10;
  units[256 ^ 'a'] = ((256u ^ 'a' ^ 512u) << 10) | 1u << 8 | 'a';
  units[512] = 1u << 31 | value;
  return units;
}

TEST(ModelErrors, UnigramFiles) {
  const std::string unigram = R"("type": "Unigram", )";
  const auto load = [&](const std::string& fields) { return load_error(model(unigram + fields)); };
  EXPECT_EQ(load(R"("vocab": [["a", -1], ["b", -2.5]], "unk_id": 0)"), "");
  EXPECT_EQ(load(R"("vocab": [["a", NaN]], "unk_id": 0)"), "M010");
  EXPECT_EQ(load(R"("vocab": [["a", -Infinity]], "unk_id": 0)"), "M010");
  EXPECT_NE(load(R"("vocab": [["a", 1e999]], "unk_id": 0)"), "");
  EXPECT_EQ(load(R"("vocab": [["a", null]], "unk_id": 0)"), "M100");
  EXPECT_EQ(load(R"("vocab": [["a", "-1"]], "unk_id": 0)"), "M100");
  EXPECT_EQ(load(R"("vocab": [["a"]], "unk_id": 0)"), "M100");
  EXPECT_EQ(load(R"("vocab": [[]], "unk_id": 0)"), "M100");
  EXPECT_EQ(load(R"("vocab": ["a"], "unk_id": 0)"), "M100");
  EXPECT_EQ(load(R"("vocab": [["a", -1, 2]], "unk_id": 0)"), "M100");
  EXPECT_EQ(load(R"("vocab": {"a": 0}, "unk_id": 0)"), "M100");
  EXPECT_EQ(load(R"("vocab": [], "unk_id": 0)"), "M100");
  EXPECT_EQ(load(R"("unk_id": 0)"), "M100");
  EXPECT_EQ(load(R"("vocab": [["a", -1]], "unk_id": 1)"), "M111");
  EXPECT_EQ(load(R"("vocab": [["a", -1]], "unk_id": -1)"), "M111");
  EXPECT_EQ(load(R"("vocab": [["a", -1]], "unk_id": "a")"), "M100");
  EXPECT_EQ(load(R"("vocab": [["a", -1]], "unk_id": 99999999999999999999)"), "M100");
}

TEST(ModelErrors, UnigramWithoutAnUnknownToken) {
  const std::string fields = R"("type": "Unigram", "vocab": [["a", -1], ["", -1], ["ab", -3]])";
  EXPECT_EQ(encode_error(fields, "aabb"), "M117");
  EXPECT_EQ(encode_error(fields, "aaab"), "");
  EXPECT_EQ(encode_error(fields + R"(, "unk_id": null)", "x"), "M117");
  EXPECT_EQ(encode_error(fields + R"(, "unk_id": 1)", "xyz"), "");
}

TEST(ModelErrors, UnigramWithEnormousScores) {
  const Tokenizer tokenizer = Tokenizer::from_text(
      model(R"("type": "Unigram", "vocab": [["a", -1.7e308], ["b", 1.7e308]], "unk_id": 0)"),
      Json(), "tokenizer.json");
  EXPECT_EQ(tokenizer.encode("aabbbxaa", true), (std::vector<int32_t>{0, 1, 1, 1, 0}));
}

TEST(ModelErrors, WordsWithoutAnUnknownToken) {
  const std::string piece = R"("type": "WordPiece", "vocab": {"a": 0, "##b": 1})";
  EXPECT_EQ(encode_error(piece, "abb"), "");
  EXPECT_EQ(encode_error(piece, "abc"), "M117");
  EXPECT_EQ(encode_error(piece + R"(, "unk_token": "a")", "abc"), "");
  EXPECT_EQ(encode_error(piece + R"(, "max_input_chars_per_word": 2)", "abb"), "M117");
  EXPECT_EQ(encode_error(piece + R"(, "max_input_chars_per_word": -5)", "a"), "M117");
  const std::string level = R"("type": "WordLevel", "vocab": {"a": 0})";
  EXPECT_EQ(encode_error(level, "a"), "");
  EXPECT_EQ(encode_error(level, "b"), "M117");
  EXPECT_EQ(load_error(model(R"("type": "WordPiece", "vocab": [["a", 1]])")), "M100");
  EXPECT_EQ(load_error(model(R"("type": "WordPiece", "vocab": {})")), "M100");
  EXPECT_EQ(load_error(model(piece + R"(, "unk_token": 7)")), "M100");
  EXPECT_EQ(load_error(model(piece + R"(, "max_input_chars_per_word": "x")")), "M100");
}

TEST(ModelErrors, CharsmapsThatAreDamaged) {
  const auto load = [](const std::string& text) { return code_of([&] { Charsmap(text, "x"); }); };
  const std::string good = charsmap(maps_a(0), std::string("bc\0", 3));
  EXPECT_EQ(Charsmap(good, "x").find("a"), "bc");
  EXPECT_EQ(Charsmap(good, "x").find("b"), std::nullopt);
  EXPECT_EQ(load(""), "M118");
  EXPECT_EQ(load("AAA="), "M118");
  EXPECT_EQ(load("!!!!"), "M118");
  EXPECT_EQ(load(base64(little_endian(0) + "abcd")), "M118");
  EXPECT_EQ(load(base64(little_endian(6) + "abcdefgh")), "M118");
  EXPECT_EQ(load(base64(little_endian(UINT32_MAX - 3) + "abcd")), "M118");
  EXPECT_EQ(load(good.substr(0, good.size() / 2)), "M118");
  EXPECT_EQ(load(charsmap(maps_a(0), "\xFF\xFE")), "M118");
  EXPECT_EQ(load(charsmap(maps_a(0), "\xC3")), "M118");
  const std::string file = R"({"normalizer": {"type": "Precompiled", "precompiled_charsmap": )";
  const std::string rest = R"(}, "model": {"type": "WordLevel", "vocab": {"a": 0}}})";
  EXPECT_EQ(load_error(file + "\"AAAA\"" + rest), "M118");
  EXPECT_EQ(load_error(file + "7" + rest), "M100");
  EXPECT_EQ(load_error(file + "null" + rest), "M100");
}

// What leads outside of the table or of the replacements, or into a character, finds nothing.
TEST(ModelErrors, CharsmapsThatLeadAstray) {
  const std::string e_acute("\xC3\xA9", 2);
  const auto find = [](const std::vector<uint32_t>& units, const std::string& replacements) {
    return Charsmap(charsmap(units, replacements), "x").find("a");
  };
  EXPECT_EQ(Charsmap(charsmap(maps_a(0), "b"), "x").find("a"), "b");  // no end: up to the end
  const Charsmap at_the_end(charsmap(maps_a(1), "b"), "x");
  EXPECT_EQ(at_the_end.find("a"), "");
  EXPECT_EQ(find(maps_a(2), "b"), std::nullopt);
  EXPECT_EQ(find(maps_a(0x7FFFFFFF), "b"), std::nullopt);
  EXPECT_EQ(find(maps_a(1), e_acute), std::nullopt);
  std::vector<uint32_t> units = maps_a(0);
  units[0] = ((1u << 22) - 1) << 10 | 1u << 9;
  EXPECT_EQ(find(units, "b"), std::nullopt);
  units = maps_a(0);
  units[256 ^ 'a'] = ((1u << 21) << 10) | 1u << 8 | 'a';
  EXPECT_EQ(find(units, "b"), std::nullopt);
  EXPECT_EQ(find({0}, "b"), std::nullopt);
}

TEST(ModelErrors, FlippedBytesNeverCrash) {
  for (const char* kind : {"unigram_charsmap", "wordpiece", "wordlevel"}) {
    const std::string good = read_json(fs::path(SFT_TEST_DIR) / "text/golden" /
                                       ("tokenizer_" + std::string(kind) + ".json"))["tokenizer"]
                                 .dump();
    for (size_t i = 0; i < good.size(); i += i < 2000 ? 5 : 61) {
      std::string damaged = good;
      damaged[i] = static_cast<char>(damaged[i] ^ 0x15);
      code_of([&] {
        const Tokenizer tokenizer = Tokenizer::from_text(damaged, Json(), "tokenizer.json");
        tokenizer.decode(tokenizer.encode("Some text, 1234 \xEF\xAC\x81 <unk> foo\t!", true),
                         false);
      });
    }
  }
}

}  // namespace
}  // namespace sft
