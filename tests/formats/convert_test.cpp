#include "formats/convert.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <vector>

namespace sft {
namespace {

TEST(Convert, EveryHalfMatchesTheScalarConversion) {
  std::vector<uint16_t> bits(65536);
  for (size_t i = 0; i < bits.size(); ++i) {
    bits[i] = static_cast<uint16_t>(i);
  }
  // One byte off, so that nothing is aligned.
  std::vector<std::byte> shifted(bits.size() * 2 + 1);
  std::memcpy(shifted.data() + 1, bits.data(), bits.size() * 2);
  std::vector<float> halves(bits.size());
  std::vector<float> brains(bits.size());
  convert_to_f32(DType::f16, shifted.data() + 1, 65536, halves.data());
  convert_to_f32(DType::bf16, shifted.data() + 1, 65536, brains.data());
  for (size_t i = 0; i < bits.size(); ++i) {
    const float h = to_float(Float16{bits[i]});
    const float b = to_float(BFloat16{bits[i]});
    ASSERT_EQ(std::bit_cast<uint32_t>(halves[i]), std::bit_cast<uint32_t>(h)) << i;
    ASSERT_EQ(std::bit_cast<uint32_t>(brains[i]), std::bit_cast<uint32_t>(b)) << i;
  }
  std::vector<uint16_t> back(65536);
  for (const DType t : {DType::f16, DType::bf16}) {
    const std::vector<float>& values = t == DType::f16 ? halves : brains;
    convert_from_f32(t, values.data(), 65536, reinterpret_cast<std::byte*>(back.data()));
    for (size_t i = 0; i < bits.size(); ++i) {
      if (values[i] == values[i]) {
        ASSERT_EQ(back[i], bits[i]);
      }
    }
  }
}

TEST(Convert, RoundsAsTheScalarConversionDoesWhateverTheThreads) {
  const int64_t n = (1 << 18) + 3;
  std::vector<float> values(static_cast<size_t>(n));
  uint32_t state = 1;
  for (float& x : values) {
    state = state * 1664525U + 1013904223U;
    x = std::bit_cast<float>(state);
  }
  ThreadPool pool(3);
  std::vector<uint16_t> got(values.size());
  convert_from_f32(DType::bf16, values.data(), n, reinterpret_cast<std::byte*>(got.data()), &pool);
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(got[i], to_bfloat16(values[i]).bits) << values[i];
  }
}

}  // namespace
}  // namespace sft
