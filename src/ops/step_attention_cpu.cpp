#include "ops/step_attention.h"

#include <vector>

namespace sft::cpu {

void step_attention_forward(Device& device, const Tensor& qkv, const Tensor& table, int64_t rotated,
                            Tensor& cache, const Tensor& past, const Attention& options, Tensor& y,
                            Tensor& /*workspace*/) {
  if (table.data == nullptr) {
    return cached_attention_forward(device, qkv, cache, past, {}, options, y);
  }
  std::vector<float> turned(static_cast<size_t>(qkv.shape.elements()));
  Tensor rows{turned.data(), qkv.shape, DType::f32};
  rope_rotate(device, qkv, table, {options.heads, false}, rotated, false, rows);
  cached_attention_forward(device, rows, cache, past, {}, options, y);
}

}  // namespace sft::cpu
