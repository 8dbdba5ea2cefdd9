// Products of one vector with rows of a weight that are read as they are kept. Used by
// few_rows_cpu.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "ops/cpu/simd.h"

namespace sft::cpu {

// x as a product with ggml's blocks takes it: codes of 8 bits in blocks of 32, each with a scale,
// the block's largest magnitude over 127. Behind the last block all is 0 up to a multiple of kChunk
// of them.
class RoundedRow {
 public:
  static constexpr int64_t kBlock = 32, kChunk = 8;
  explicit RoundedRow(const float* x, int64_t n);  // n is a multiple of kBlock
  // From a block on, as int8_t or as int16_t.
  template <class Code>
  const Code* codes(int64_t block) const {
    if constexpr (sizeof(Code) == 1) {
      return codes_.data() + block * kBlock;
    } else {
      return wide_codes_.data() + block * kBlock;
    }
  }
  const float* scales(int64_t block) const { return scales_.data() + block; }
  // What the codes of the first half of each block add up to, or those of the second.
  const int32_t* code_sums(int half, int64_t block) const {
    return code_sums_[half].data() + block;
  }

 private:
  std::vector<int8_t> codes_;
  std::vector<int16_t> wide_codes_;
  std::vector<float> scales_;
  std::array<std::vector<int32_t>, 2> code_sums_;
};

// Whether a weight of this type is multiplied with a RoundedRow.
bool takes_rounded_row(DType type);

// out[i] = the product of x with row first + i of weight (rows, n), of one of those types.
void rounded_dots(const Tensor& weight, int64_t first, int64_t count, const RoundedRow& x,
                  float* out);
// The same for a weight of any other type, x (n).
void row_dots(const Tensor& weight, int64_t first, int64_t count, const float* x, float* out);

// Asks for the `bytes` that follow p a page later, of weights that are read in a row: by itself a
// processor looks ahead to the end of a page at most. There need be nothing there.
SFT_INLINE void fetch_ahead(const void* p, int64_t bytes) {
  constexpr int64_t kPage = 4096, kLine = 64;
  const auto at = reinterpret_cast<uintptr_t>(p) + kPage;
  for (int64_t line = 0; line < bytes; line += kLine) {
    __builtin_prefetch(reinterpret_cast<const void*>(at + static_cast<uintptr_t>(line)));
  }
}

}  // namespace sft::cpu
