// Products of a few rows, in programs that generate. Such a step takes as long as it takes to read
// the weights: they are read once and as they are kept, packed ones too, and what stands around a
// product in a decoder is joined to it. There is no backward pass.
#pragma once

#include <optional>
#include <vector>

#include "device/kernel.h"
#include "graph/program.h"
#include "ops/few_rows_memory.h"
#include "ops/gated_activation.h"
#include "ops/linear.h"
#include "ops/rmsnorm.h"

namespace sft {

struct FewRows {
  // Of x; more are multiplied as in training.
  static constexpr int64_t kMost = FewRowsMemory::kMost;
  std::optional<RmsNorm> norm;      // of x, before the product
  std::optional<Activation> gated;  // the weight is gate's rows and then up's: act(gate) * up
  float alpha = 1.0F;
};

// Whether `rows` rows are multiplied with the layer's weight by the kernel below: one that is a
// parameter, or parts that are, and no product of codes with codes of 8 bits; x must fit the memory
// of the target's multiprocessors.
bool takes_few_rows(const Program& p, int64_t rows, const Linear& layer);
// The same for a weight of gate and up without adapters, joined to the activation.
bool takes_few_gated_rows(const Program& p, int64_t rows, const Linear& gate_up);

// y (rows, out) (+)= alpha norm(x) weight^T + bias, or where `how.gated` says so y (rows, out / 2)
// = act(gate) * up of that. x (rows, in), `norm` (in) its norm's weight or null.
void emit_few_rows(Program& p, Value x, Value norm, const Linear& layer, const FewRows& how,
                   Output y);

// As linear and gated_mlp, with that kernel where it takes the layers.
Value few_rows_linear(Program& p, Value x, const Linear& layer);
Value few_rows_mlp(Program& p, Value x, const Linear& gate_up, const Linear& down,
                   Activation activation);

// `weights`: the parts, whose rows follow each other. Where a part is in one of ggml's formats x is
// rounded to 8 bits, in blocks of 32 with a scale each: as llama.cpp multiplies them.
SFT_KERNEL(void, few_rows_product, const Tensor& x, const Tensor& norm,
           const std::vector<Tensor>& weights, const Tensor& bias, const FewRows& how, Tensor& y,
           bool accumulate);

}  // namespace sft
