// Products of one vector with rows of a weight that are read as they are kept. Used by
// few_rows_cpu.cpp.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace sft::cpu {

// x as a product with ggml's blocks takes it: codes of 8 bits in blocks of 32, each with a scale,
// the block's largest magnitude over 127.
class RoundedRow {
 public:
  static constexpr int64_t kBlock = 32;
  explicit RoundedRow(const float* x, int64_t n);  // n is a multiple of kBlock
  const int16_t* codes(int64_t block) const { return codes_.data() + block * kBlock; }
  float scale(int64_t block) const { return scales_[static_cast<size_t>(block)]; }
  // Of what the block's codes stand for.
  float sum(int64_t block) const { return sums_[static_cast<size_t>(block)]; }

 private:
  std::vector<int16_t> codes_;
  std::vector<float> scales_, sums_;
};

// Whether a weight of this type is multiplied with a RoundedRow.
bool takes_rounded_row(DType type);

// out[i] = the product of x with row first + i of weight (rows, n), of one of those types.
void rounded_dots(const Tensor& weight, int64_t first, int64_t count, const RoundedRow& x,
                  float* out);
// The same for a weight of any other type, x (n).
void row_dots(const Tensor& weight, int64_t first, int64_t count, const float* x, float* out);

}  // namespace sft::cpu
