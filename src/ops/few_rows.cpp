#include "ops/few_rows.h"

#include <algorithm>

#include "core/error.h"
#include "ops/dora.h"
#include "ops/gated_mlp.h"
#include "ops/int8_linear.h"
#include "ops/kernels.h"

namespace sft {

namespace {

// Of x in float32, in bytes: with more a GPU multiplies as in training.
constexpr int64_t kMostOfX = 96 << 10;
// On a CPU so many rows are multiplied with packed weights as they are, which would be decoded.
constexpr int64_t kMostPacked = 32;

// Whether a GPU's multiprocessor holds what the kernel needs of x.
bool fits(const Target& target, int64_t rows, int64_t in, DType weight) {
  const bool codes = is_packed(weight) && packing_of(weight).scales == Packing::Scales::inside;
  const size_t held = FewRowsMemory::bytes(FewRowsMemory::rows(rows) * in, codes);
  return target.shared_memory == 0 ||
         static_cast<int64_t>(held) + FewRowsMemory::kBeside <= target.shared_memory;
}

}  // namespace

bool takes_few_rows(const Program& p, int64_t rows, const Linear& layer) {
  const int64_t in = p.shape(layer.weight)[1];
  const bool cpu = p.target().device == DeviceKind::cpu;
  const std::vector<Value> parts = p.parts(layer.weight);
  const bool packed = is_packed(p.info(parts.front()).dtype);
  const int64_t most = cpu && packed ? kMostPacked : FewRows::kMost;
  const bool little = cpu || rows * in * static_cast<int64_t>(sizeof(float)) <= kMostOfX;
  return rows <= most && in % 32 == 0 && little && !is_int8(p, layer.weight) &&
         std::ranges::all_of(parts, [&](Value part) {
           return p.info(part).kind == ValueInfo::Kind::parameter &&
                  (cpu || fits(p.target(), rows, in, p.info(part).dtype));
         });
}

bool takes_few_gated_rows(const Program& p, int64_t rows, const Linear& gate_up) {
  const std::vector<Value> parts = p.parts(gate_up.weight);
  return gate_up.lora.empty() && takes_few_rows(p, rows, gate_up) &&
         (parts.size() == 1 ||
          (parts.size() == 2 && p.info(parts[0]).dtype == p.info(parts[1]).dtype &&
           p.shape(parts[0]) == p.shape(parts[1])));
}

void emit_few_rows(Program& p, Value x, Value norm, const Linear& layer, const FewRows& how,
                   Output y) {
  std::vector<Value> in{x, norm, layer.bias};
  const std::vector<Value> parts = p.parts(layer.weight);
  in.insert(in.end(), parts.begin(), parts.end());
  p.emit("few_rows", std::move(in), {y}, [how, count = parts.size()](const Run& r) {
    std::vector<Tensor> weights;
    for (size_t i = 0; i < count; ++i) {
      weights.push_back(r.in(static_cast<int>(i) + 3));
    }
    kernels(r).few_rows_product(r.device(), r.in(0), r.in(1), weights, r.in(2), how, r.out(0),
                                r.accumulate(0));
  });
}

Value few_rows_linear(Program& p, Value x, const Linear& layer) {
  if (!takes_few_rows(p, p.shape(x)[0], layer) || is_decomposed(layer)) {
    return linear(p, x, layer);
  }
  const Value y = p.activation("linear", {p.shape(x)[0], p.shape(layer.weight)[0]});
  emit_few_rows(p, x, {}, layer, {}, y);
  for (const Lora& lora : layer.lora) {
    emit_lora_up(p, emit_lora_down(p, x, lora), lora, {y, Output::Mode::add});
  }
  return y;
}

Value few_rows_mlp(Program& p, Value x, const Linear& gate_up, const Linear& down,
                   Activation activation) {
  const int64_t rows = p.shape(x)[0];
  if (takes_few_gated_rows(p, rows, gate_up)) {
    FewRows how;
    how.gated = activation;
    const Value y = p.activation("gated_activation", {rows, p.shape(gate_up.weight)[0] / 2});
    emit_few_rows(p, x, {}, gate_up, how, y);
    return few_rows_linear(p, y, down);
  }
  if (!takes_few_rows(p, rows, gate_up) && !takes_few_rows(p, rows, down)) {
    return gated_mlp(p, x, gate_up, down, activation);
  }
  return few_rows_linear(p, gated_activation(p, few_rows_linear(p, x, gate_up), activation), down);
}

}  // namespace sft
