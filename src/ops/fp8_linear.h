// Products with a frozen weight in float8 (formats/eight_bit.h: e4m3, a scale a row). What the
// weight meets is float8 too, with a scale for each token: x on the way forward; on the way back
// y's gradient times the weight's scales, so that the same codes serve both ways. Products add up
// in float32. Micikevicius et al., "FP8 Formats for Deep Learning" (2022).
#pragma once

#include "device/kernel.h"
#include "graph/program.h"

namespace sft {

// Whether a weight is such a one.
bool is_fp8(const Program& p, Value weight);
// Whether the device multiplies its codes themselves; else what they stand for is multiplied.
bool multiplies_codes(const Program& p, Value weight);

// y = x weight^T (+ bias), and grad_x (+)= grad_y weight.
void emit_fp8_product(Program& p, Value x, Value weight, Value bias, Output y);
void emit_fp8_backward(Program& b, Value grad_y, Value weight, Output grad_x);

// x (rows, n), its columns times `columns` (n; no memory: as they are), as codes (rows, n) u8 with
// a scale for each row.
SFT_KERNEL(void, fp8_rows, const Tensor& x, const Tensor& columns, Tensor& codes, Tensor& scales);
// What those codes stand for, in x's type and without the columns' factors.
SFT_KERNEL(void, fp8_rounded, const Tensor& x, const Tensor& columns, Tensor& y);
// The scales of a weight's rows: columns[first ...].
SFT_KERNEL(void, fp8_columns, const Tensor& weight, int64_t first, Tensor& columns);
// Its codes: codes[:, first ...], codes (in, out) u8; as a matrix of its own their scales are 1.
SFT_KERNEL(void, fp8_transposed, const Tensor& weight, int64_t first, Tensor& codes,
           Tensor& scales);
// y[:, first ...] (+)= the product of two matrices of codes, a (rows, n) b (m, n)^T, + bias;
// without `b_scales` b's scales are behind its codes, as a weight has them. `fast`: with sums of
// fewer digits where a device has such.
SFT_KERNEL(void, fp8_product, const Tensor& a, const Tensor& a_scales, const Tensor& b,
           const Tensor& b_scales, const Tensor& bias, int64_t first, bool fast, Tensor& y,
           bool accumulate);

}  // namespace sft
