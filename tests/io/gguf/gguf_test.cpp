#include "io/gguf/file.h"

#include <cmath>
#include <cstring>

#include "formats/ggml_blocks.h"
#include "io/gguf/config.h"
#include "io/safetensors.h"
#include "io/support.h"

namespace sft {
namespace {

// Builds GGUF bytes piece by piece.
struct Bytes {
  std::string text;
  template <class T>
  Bytes& number(T value) {
    text.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Bytes& string(std::string_view s) {
    number<uint64_t>(s.size());
    text += s;
    return *this;
  }
  static Bytes start(uint64_t tensors, uint64_t values, uint32_t version = 3) {
    Bytes b;
    b.text = "GGUF";
    return b.number(version).number(tensors).number(values);
  }
  Bytes& tensor(std::string_view name, std::vector<uint64_t> dims, uint32_t type, uint64_t offset) {
    string(name).number(static_cast<uint32_t>(dims.size()));
    for (const uint64_t d : dims) {
      number(d);
    }
    return number(type).number(offset);
  }
  Bytes& data(size_t bytes) {
    text.append((32 - text.size() % 32) % 32 + bytes, '\0');
    return *this;
  }
};

std::string open_code(const Bytes& bytes) {
  const TemporaryFolder folder;
  put(folder / "x.gguf", bytes.text);
  return code_of([&] { GgufFile file(folder / "x.gguf"); });
}

TEST(Gguf, EveryTypeDecodesAsTheReferenceDoes) {
  const GgufFile file(golden("quants.gguf"));
  const SafetensorsFile expected(golden("quants.safetensors"));
  ASSERT_EQ(file.tensors().size(), expected.tensors().size());
  for (const GgufTensor& t : file.tensors()) {
    const StoredTensor& e = *expected.find(t.name);
    EXPECT_EQ(t.shape, e.shape);
    std::vector<float> want(512);
    std::vector<float> got(512);
    expected.read_f32(e, want.data());
    t.type->decode(file.raw(t).data(), 512, got.data());
    for (size_t i = 0; i < 512; ++i) {
      ASSERT_EQ(want[i], got[i]) << t.name << " " << i;
    }
  }
}

TEST(Gguf, ReadsMetadataOfAllKinds) {
  const GgufFile file(golden("quants.gguf"));
  EXPECT_EQ(file.string("general.architecture"), "none");
  EXPECT_EQ(file.number("test.eps"), 1e-5);  // not 9.99999974e-06
  EXPECT_FALSE(file.integer("absent").has_value());
  EXPECT_EQ(code_of([&] { file.integer("general.architecture"); }), "M228");
  EXPECT_EQ(code_of([&] { file.required_integer("absent"); }), "M228");
  const auto& nested = std::get<GgufValue::Array>(file.value("test.nested")->value);
  EXPECT_EQ(std::get<std::vector<int64_t>>(nested.at(1).value), std::vector<int64_t>{3});
  const GgufFile model(golden("llama.gguf"));
  EXPECT_EQ(model.strings("tokenizer.ggml.tokens")->at(47), "t47");
  EXPECT_EQ(model.integers("tokenizer.ggml.token_type")->size(), 48U);
}

TEST(Gguf, HostileFilesHaveTheirCodes) {
  EXPECT_EQ(open_code(Bytes::start(0, 0)), "");
  EXPECT_EQ(open_code(Bytes::start(1, 0).tensor("a", {4}, 0, 0).data(16)), "");
  EXPECT_EQ(open_code(Bytes{"not a GGUF file, but long enough to be one"}), "M220");
  EXPECT_EQ(open_code(Bytes{"GGUF"}), "M220");
  EXPECT_EQ(open_code(Bytes::start(0, 0, 1)), "M221");
  EXPECT_EQ(open_code(Bytes::start(0, 0, 0x03000000)), "M221");
  EXPECT_EQ(open_code(Bytes::start(uint64_t{1} << 63, 0)), "M222");
  EXPECT_EQ(open_code(Bytes::start(0, uint64_t{1} << 63)), "M222");
  EXPECT_EQ(open_code(Bytes::start(0, 1).number(~uint64_t{0}).data(64)), "M222");
  EXPECT_EQ(open_code(Bytes::start(0, 1).string("k").number(99U).data(64)), "M223");
  EXPECT_EQ(open_code(Bytes::start(0, 1).string("k").number(10U).number(~uint64_t{0})), "M223");
  const auto list = [](uint32_t type, uint64_t n) {
    return Bytes::start(0, 1).string("k").number(9U).number(type).number(n).data(64);
  };
  EXPECT_EQ(open_code(list(0, uint64_t{1} << 62)), "M222");
  EXPECT_EQ(open_code(list(8, uint64_t{1} << 61)), "M222");
  EXPECT_EQ(open_code(list(77, 2)), "M223");
  Bytes deep = Bytes::start(0, 1).string("k").number(9U);
  for (int i = 0; i < 10'000; ++i) {
    deep.number(9U).number(uint64_t{1});
  }
  EXPECT_EQ(open_code(deep), "M223");
  EXPECT_EQ(
      open_code(
          Bytes::start(0, 2).string("k").number(0U).number('a').string("k").number(0U).number('b')),
      "M226");
}

TEST(Gguf, HostileTensorListsHaveTheirCodes) {
  const auto one = [](std::vector<uint64_t> dims, uint32_t type, uint64_t offset) {
    return open_code(Bytes::start(1, 0).tensor("a", std::move(dims), type, offset).data(64));
  };
  EXPECT_EQ(one({1, 1, 1, 1, 1}, 0, 0), "M224");
  EXPECT_EQ(one({0}, 0, 0), "M224");
  EXPECT_EQ(one({uint64_t{1} << 63}, 0, 0), "M224");
  EXPECT_EQ(one({uint64_t{1} << 40, uint64_t{1} << 40}, 0, 0), "M224");
  EXPECT_EQ(one({33}, 8, 0), "M224");
  EXPECT_EQ(one({4}, 0, 1), "M224");
  EXPECT_EQ(one({4}, 17, 0), "M227");
  EXPECT_EQ(one({4}, 4711, 0), "M227");
  EXPECT_EQ(one({4}, 0, 96), "M225");
  EXPECT_EQ(one({4}, 0, ~uint64_t{0} - 31), "M225");
  EXPECT_EQ(one({uint64_t{1} << 40}, 0, 0), "M225");
  EXPECT_EQ(open_code(Bytes::start(2, 0).tensor("a", {4}, 0, 0).tensor("a", {4}, 0, 32).data(64)),
            "M226");
  EXPECT_EQ(open_code(Bytes::start(2, 0).tensor("a", {16}, 0, 0).tensor("b", {4}, 0, 32).data(64)),
            "M226");
}

TEST(Gguf, UnsupportedTypesAreNamed) {
  const TemporaryFolder folder;
  put(folder / "x.gguf", Bytes::start(1, 0).tensor("w", {256}, 17, 0).data(74).text);
  const std::string words = words_of([&] { GgufFile file(folder / "x.gguf"); });
  EXPECT_NE(words.find("IQ2_XS"), std::string::npos) << words;
  EXPECT_NE(words.find("Q6_K"), std::string::npos) << words;
}

TEST(Gguf, FlippedBytesAndCutsNeverCrash) {
  const TemporaryFolder folder;
  const fs::path path = folder / "mutant.gguf";
  int refused = 0;
  for (const char* name : {"llama.gguf", "gemma3.gguf", "quants.gguf"}) {
    const std::string whole = read_text(golden(name));
    const auto use = [&](const std::string& bytes) {
      put(path, bytes);
      try {
        const auto source = open_model(path);
        for (const std::string& tensor : source->names()) {
          read_all(*source, tensor);
        }
        source->chat_templates();
        source->generation_config();
      } catch (const Error&) {
        ++refused;
      }
    };
    for (size_t i = 0; i < 2200; ++i) {
      for (const char flip : {'\x01', '\x80', '\xff'}) {
        std::string mutant = whole;
        mutant[i] = static_cast<char>(mutant[i] ^ flip);
        use(mutant);
      }
    }
    for (size_t i = 0; i < 64; ++i) {
      const int before = refused;
      use(whole.substr(0, whole.size() * i / 64));
      EXPECT_EQ(refused, before + 1) << name << " cut at " << i << "/64";
    }
  }
  EXPECT_GT(refused, 1000);
}

std::vector<float> divisors_of(double factor, double low, double high, double original, int n,
                               double theta) {
  std::vector<float> result;
  for (int i = 0; i < n; ++i) {
    const double wavelength = 2 * M_PI * std::pow(theta, static_cast<double>(i) / n);
    const double smooth = (original / wavelength - low) / (high - low);
    const double between = 1 / ((1 - smooth) / factor + smooth);
    result.push_back(static_cast<float>(wavelength < original / high  ? 1
                                        : wavelength > original / low ? factor
                                                                      : between));
  }
  return result;
}

TEST(GgufRope, Llama3ScalingComesBackFromItsDivisors) {
  const auto same = [](double factor, double high, double original, double theta) {
    const auto rope =
        llama3_rope_from_divisors(divisors_of(factor, 1, high, original, 64, theta), theta);
    ASSERT_TRUE(rope.has_value());
    EXPECT_EQ((*rope)["factor"], factor);
    EXPECT_EQ((*rope)["low_freq_factor"], 1);
    EXPECT_EQ((*rope)["high_freq_factor"], high);
    EXPECT_EQ((*rope)["original_max_position_embeddings"], original);
    EXPECT_EQ((*rope)["rope_type"], "llama3");
  };
  same(8, 4, 8192, 500000);   // Llama 3.1
  same(32, 4, 8192, 500000);  // Llama 3.2
  same(16, 6, 4096, 10000);
  std::vector<float> odd(64, 1.0F);
  odd[40] = 3;
  EXPECT_FALSE(llama3_rope_from_divisors(odd, 10000).has_value());
  EXPECT_FALSE(llama3_rope_from_divisors({1.0F, NAN}, 10000).has_value());
}

}  // namespace
}  // namespace sft
