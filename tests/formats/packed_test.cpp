// Packed formats: 4 bits against bitsandbytes (tools/golden/packed.py makes the file), 8 bits
// against their definition, and that any range decodes as the whole does.
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "formats/convert.h"
#include "formats/eight_bit.h"
#include "formats/format.h"
#include "formats/four_bit.h"
#include "support/paths.h"

namespace sft {
namespace {

std::vector<float> values(int64_t count) {
  std::vector<float> out(static_cast<size_t>(count));
  for (uint64_t i = 0; i < out.size(); ++i) {
    const uint64_t mixed = (i * 2654435761U + 12345U) % (uint64_t{1} << 32);
    const double x = static_cast<double>(mixed) / 2147483648.0 - 1.0;
    out[i] = static_cast<float>(x * std::pow(2.0, -static_cast<double>(i / 64 % 11)));
  }
  return out;
}

std::string fnv(const void* data, size_t bytes) {
  uint64_t h = 0xCBF29CE484222325U;
  for (size_t i = 0; i < bytes; ++i) {
    h = (h ^ static_cast<const uint8_t*>(data)[i]) * 0x100000001B3U;
  }
  return fmt::format("{:016x}", h);
}

struct Packed {
  std::vector<std::byte> memory;
  Tensor tensor;
  Packed(DType type, const Shape& shape)
      : memory(bytes_of(type, shape)), tensor{memory.data(), shape, type} {}
};

DType type_of(const std::string& name) {
  return name == "nf4"          ? DType::nf4
         : name == "fp4"        ? DType::fp4
         : name == "nf4_nested" ? DType::nf4_nested
                                : DType::fp4_nested;
}

TEST(PackedFormats, four_bits_are_those_of_bitsandbytes) {
  const Json cases = read_json(std::string(SFT_TEST_DIR) + "/formats/golden/packed.json");
  ASSERT_EQ(cases.size(), 12U);
  for (const Json& c : cases) {
    SCOPED_TRACE(c.dump());
    const auto count = c["count"].get<int64_t>();
    Packed packed(type_of(c["type"]), {count});
    encode(values(count).data(), packed.tensor);
    EXPECT_EQ(fnv(packed.memory.data(), static_cast<size_t>((count + 1) / 2)),
              c["codes"].get<std::string>());
    const size_t behind = scales_at(packed.tensor.dtype, packed.tensor.shape);
    const auto blocks = static_cast<size_t>((count + 63) / 64);
    const bool nested = !c["mean"].is_null();
    EXPECT_EQ(fnv(packed.memory.data() + behind, nested ? blocks : 4 * blocks),
              c["scales"].get<std::string>());
    if (nested) {
      float mean = 0;
      std::memcpy(&mean, packed.memory.data() + packed.memory.size() - 4, 4);
      EXPECT_EQ(mean, c["mean"].get<float>());
    }
    std::vector<float> back(static_cast<size_t>(count));
    decode(packed.tensor, back.data(), nullptr);
    for (float& x : back) {
      x += 0.0F;  // bitsandbytes' loops differ in a zero's sign
    }
    for (size_t i = 0; i < 8; ++i) {
      EXPECT_EQ(back[i], c["first"][i].get<float>()) << i;
    }
    EXPECT_EQ(fnv(back.data(), back.size() * sizeof(float)), c["values"].get<std::string>());
  }
}

TEST(PackedFormats, any_range_decodes_as_the_whole_does) {
  for (int t = static_cast<int>(DType::nf4); t <= static_cast<int>(DType::mxfp4); ++t) {
    const auto type = static_cast<DType>(t);
    SCOPED_TRACE(std::string(name_of(type)));
    const Shape shape = type == DType::mxfp4 ? Shape{2, 32, 24} : Shape{3, 512};
    Packed packed(type, shape);
    if (can_encode(type)) {
      encode(values(shape.elements()).data(), packed.tensor);
    } else {  // small codes and scales, whatever the block
      for (size_t i = 0; i < packed.memory.size(); ++i) {
        packed.memory[i] = static_cast<std::byte>(i * 7 % 61);
      }
    }
    std::vector<float> whole(static_cast<size_t>(shape.elements())), part(whole.size());
    decode(packed.tensor, whole.data(), nullptr);
    for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 1}, {31, 97}, {300, 1301}}) {
      decode(packed.tensor, begin, end, part.data());
      EXPECT_EQ(std::memcmp(part.data(), whole.data() + begin,
                            static_cast<size_t>(end - begin) * sizeof(float)),
                0)
          << begin;
    }
  }
}

// All 16 codes under all 256 exponents, against what transformers makes of them
// (tools/golden/mxfp4.py) and against the format's definition.
TEST(PackedFormats, mxfp4_is_in_all_bits_what_transformers_makes_of_it) {
  constexpr std::array<double, 16> kNumbers{0,    0.5,  1,  1.5,  2,  3,  4,  6,
                                            -0.0, -0.5, -1, -1.5, -2, -3, -4, -6};
  const Json golden = read_json(std::string(SFT_TEST_DIR) + "/formats/golden/mxfp4.json");
  const Shape shape{1, 32, 256};
  Packed packed(DType::mxfp4, shape);
  const size_t behind = scales_at(DType::mxfp4, shape);
  for (size_t column = 0; column < 256; ++column) {
    for (size_t i = 0; i < 16; ++i) {
      packed.memory[column * 16 + i] = static_cast<std::byte>(2 * i % 16 | (2 * i + 1) % 16 << 4);
    }
    packed.memory[behind + column] = static_cast<std::byte>(column);
  }
  std::vector<float> values(static_cast<size_t>(shape.elements()));
  decode(packed.tensor, values.data(), nullptr);
  for (size_t i = 0; i < values.size(); ++i) {
    const auto want =
        static_cast<float>(std::ldexp(kNumbers[i / 256 % 16], static_cast<int>(i % 256) - 127));
    ASSERT_EQ(std::bit_cast<uint32_t>(values[i]), std::bit_cast<uint32_t>(want)) << i;
  }
  EXPECT_EQ(fnv(values.data(), values.size() * 4), golden["float32"].get<std::string>());
  std::vector<std::byte> narrow(values.size() * 2);
  convert_from_f32(DType::bf16, values.data(), shape.elements(), narrow.data());
  EXPECT_EQ(fnv(narrow.data(), narrow.size()), golden["bfloat16"].get<std::string>());
}

TEST(PackedFormats, bytes_count_codes_and_scales) {
  const Shape shape{128, 256};  // 32,768 values, 512 blocks of 64
  EXPECT_EQ(bytes_of(DType::nf4, shape), 16384U + 4 * 512);
  EXPECT_EQ(bytes_of(DType::nf4_nested, shape), 16384U + 512 + 4 * 2 + 4);
  EXPECT_EQ(bytes_of(DType::i8_rows, shape), 32768U + 4 * 128);
  EXPECT_EQ(bytes_of(DType::q4_k, shape), 32768U / 256 * 144);
  EXPECT_EQ(bytes_of(DType::mxfp4, shape), 16384U + 1024);
  EXPECT_EQ(bytes_of(DType::bf16, shape), 65536U);
}

TEST(PackedFormats, float8_is_the_nearest) {
  for (int code = 0; code < 256; ++code) {
    const float x = from_float8(static_cast<uint8_t>(code));
    if (!std::isnan(x)) {
      EXPECT_EQ(to_float8(x), code) << x;
    }
  }
  // Ties go to the even code; what is beyond the largest is the largest.
  EXPECT_EQ(from_float8(to_float8(17.0F)), 16.0F);
  EXPECT_EQ(from_float8(to_float8(19.0F)), 20.0F);
  EXPECT_EQ(from_float8(to_float8(-1e9F)), -448.0F);
  EXPECT_EQ(from_float8(to_float8(0x1.8p-10F)), 0x1p-9F);
}

TEST(PackedFormats, eight_bits_by_rows_err_by_half_a_step) {
  const Shape shape{7, 100};
  const std::vector<float> x = values(shape.elements());
  for (const DType type : {DType::i8_rows, DType::f8_rows}) {
    Packed packed(type, shape);
    encode(x.data(), packed.tensor);
    std::vector<float> back(x.size());
    decode(packed.tensor, back.data(), nullptr);
    for (size_t row = 0; row < 7; ++row) {
      float most = 0;
      for (size_t i = 0; i < 100; ++i) {
        most = std::max(most, std::abs(x[row * 100 + i]));
      }
      for (size_t i = row * 100; i < (row + 1) * 100; ++i) {
        const float step = type == DType::i8_rows
                               ? most / 127
                               : std::max(std::abs(x[i]) / 8, most / 448 * 0x1p-9F);
        // int8's values are rounded to float16 first.
        const float half = type == DType::i8_rows ? std::abs(x[i]) * 0x1p-11F : 0.0F;
        EXPECT_LE(std::abs(back[i] - x[i]), step * 0.5001F + half) << i;
      }
    }
  }
}

}  // namespace
}  // namespace sft
