// DoRA: a linear layer with adapters whose rows keep a trained length of their own.
// y = m / |W + s B A| (W + s B A) x + b, the length |.| of a row held constant in the gradient.
// Liu et al., "DoRA" (2024), section 4.3. B A is never formed:
// |W + s B A|^2 = |W|^2 + 2 s (W A^T) . B + s^2 B (A A^T) . B, row by row.
// Where an adapter drops some of its input, y = W x + b + (m / |.| - 1) W x' + m / |.| s B A x', x'
// being what is left of x, as PEFT has it.
#pragma once

#include <vector>

#include "device/kernel.h"
#include "graph/program.h"
#include "ops/linear.h"

namespace sft {

// Whether a layer is one (Lora::magnitude).
bool is_decomposed(const Linear& layer);
// As `linear`, for such a layer. Its weight is frozen.
Value decomposed_linear(Program& p, Value x, const Linear& layer);
// Of a table of embeddings with such an adapter (ops/embedding_lora.h), whose columns keep a length
// of their own: sum (tokens, hidden), the words' rows with the adapter added, times magnitude /
// |W^T + s B A|, row by row of W^T. lora.pieces[0].scale is s, as in `sum` but for a factor that
// all of it has.
Value decomposed_embedding(Program& p, Value sum, Value table, const Lora& lora);

// squares (out) = |row of W|^2; W (out, in).
SFT_KERNEL(void, row_squares, const Tensor& weight, Tensor& squares);
// Of one adapter group: gain[rows of pieces] = magnitude / |W + s B A|, and inverse (all pieces'
// rows) = 1 / |W + s B A|. squares (out) = |W|^2, down (out, pieces * rank) = W A^T, gram = A A^T,
// all float32. Without `more` the other rows' gain is 1.
SFT_KERNEL(void, dora_gain, const Tensor& squares, const Tensor& down, const Tensor& gram,
           const Tensor& b, const Tensor& magnitude, const std::vector<LoraPiece>& pieces,
           Tensor& gain, Tensor& inverse, bool more);
// grad_magnitude (+)= grad_gain[rows of pieces] inverse
SFT_KERNEL(void, dora_gain_backward, const Tensor& grad_gain, const Tensor& inverse,
           const std::vector<LoraPiece>& pieces, Tensor& grad_magnitude, bool accumulate);
// y = x gain (+ bias), column by column; gain (out) is float32.
SFT_KERNEL(void, scale_columns, const Tensor& x, const Tensor& gain, const Tensor& bias, Tensor& y);
// grad_gain[first + j] = the sum over rows of grad_y[first + j] (x[j] + more[j]); `more` may be
// null.
SFT_KERNEL(void, column_dots, const Tensor& grad_y, const Tensor& x, const Tensor& more,
           int64_t first, Tensor& grad_gain);
// y[first + j] += (gain[first + j] - 1) base[j] + gain[first + j] update[j]
SFT_KERNEL(void, dora_mix, const Tensor& base, const Tensor& update, const Tensor& gain,
           int64_t first, Tensor& y);
SFT_KERNEL(void, dora_mix_backward, const Tensor& grad_y, const Tensor& gain, int64_t first,
           Tensor& grad_base, Tensor& grad_update);

}  // namespace sft
