// Encoding against ggml's own quantiser: tests/formats/ggml_hashes.py printed the hashes.
#include "formats/ggml_encode.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace sft {
namespace {

constexpr int64_t kValues = 256 * 64;

// Cubes of numbers spread over (-1, 1), most of them small, with blocks of zeros, of one value, of
// one sign and with an outlier among them; the same as in the script.
std::vector<float> values() {
  std::vector<float> x(kValues);
  for (int64_t i = 0; i < kValues; ++i) {
    const auto mixed = static_cast<uint32_t>(static_cast<uint64_t>(i) * 2654435761U);
    const double v = (static_cast<double>(mixed >> 8 & 0xffffU) - 32768) / 32768;
    x[static_cast<size_t>(i)] = static_cast<float>(v * v * v);
    const int64_t block = i / 256;
    if (block % 8 == 3 && i / 32 % 8 < 2) {
      x[static_cast<size_t>(i)] = 0;
    } else if (block % 8 == 4) {
      x[static_cast<size_t>(i)] = 0.37F;
    } else if (block % 8 == 5) {
      x[static_cast<size_t>(i)] = std::abs(x[static_cast<size_t>(i)]);
    } else if (block % 8 == 6 && i % 256 == 100) {
      x[static_cast<size_t>(i)] = -6e3F;
    } else if (block % 8 == 7) {
      x[static_cast<size_t>(i)] *= 1e-18F;
    }
  }
  return x;
}

std::vector<std::byte> encoded(const GgufType& type, const std::vector<float>& x) {
  std::vector<std::byte> bytes(x.size() / static_cast<size_t>(type.block) *
                               static_cast<size_t>(type.block_bytes));
  EXPECT_TRUE(encode_ggml(type, x.data(), static_cast<int64_t>(x.size()), bytes.data()));
  return bytes;
}

uint64_t fnv1a(const std::vector<std::byte>& bytes) {
  uint64_t hash = 0xcbf29ce484222325U;
  for (const std::byte b : bytes) {
    hash = (hash ^ static_cast<uint64_t>(b)) * 0x100000001b3U;
  }
  return hash;
}

struct Case {
  DType type;
  uint64_t hash;  // of what ggml writes
  double worst;   // decoded again, of the block's largest value
};

constexpr Case kCases[] = {
#include "golden/ggml_hashes.inc"
};

TEST(GgmlEncode, BytesAreThoseOfGgmlsQuantiser) {
  const std::vector<float> x = values();
  for (const Case& c : kCases) {
    const GgufType& type = *find_gguf_type(c.type);
    const std::vector<std::byte> bytes = encoded(type, x);
    EXPECT_EQ(fnv1a(bytes), c.hash) << type.name;
    std::vector<float> again(x.size());
    type.decode(bytes.data(), kValues, again.data());
    for (int64_t block = 0; block < kValues; block += 256) {
      float largest = 0, miss = 0;
      for (int64_t i = block; i < block + 256; ++i) {
        const auto at = static_cast<size_t>(i);
        largest = std::max(largest, std::abs(x[at]));
        miss = std::max(miss, std::abs(x[at] - again[at]));
      }
      EXPECT_LE(miss, c.worst * static_cast<double>(largest) + 1e-7) << type.name;
    }
  }
}

TEST(GgmlEncode, SaysWhereAValueCannotBeHeld) {
  for (const DType dtype : {DType::f16, DType::bf16, DType::q8_0, DType::q4_0, DType::q4_1,
                            DType::q5_0, DType::q5_1, DType::q4_k, DType::q5_k, DType::q6_k}) {
    const GgufType& type = *find_gguf_type(dtype);
    std::vector<std::byte> bytes(static_cast<size_t>(kValues * 4));
    for (const float wrong : {std::numeric_limits<float>::quiet_NaN(),
                              std::numeric_limits<float>::infinity(), 1e30F, -1e15F, 3e8F}) {
      std::vector<float> x = values();
      x[777] = wrong;
      const bool fits = dtype == DType::bf16 && std::isfinite(wrong);
      EXPECT_EQ(encode_ggml(type, x.data(), kValues, bytes.data()), fits)
          << type.name << " " << wrong;
    }
  }
}

}  // namespace
}  // namespace sft
