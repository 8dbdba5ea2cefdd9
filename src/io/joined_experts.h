// The experts of a layer in two tensors, as Qwen3.5's files and transformers' memory hold them:
// "mlp.experts.gate_up_proj" (experts, 2 intermediate, hidden), of each expert the rows of its gate
// before those of up, and "mlp.experts.down_proj" (experts, hidden, intermediate). Families name
// the matrices one by one ("mlp.experts.7.up_proj.weight"), as most files do: what is asked for is
// found in such a tensor, and what is saved goes into one where the source has one.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"
#include "io/safetensors_writer.h"

namespace sft {

// Where an expert's matrix stands: it is number `index` of those of one shape in a tensor that has
// `parts` of them for each expert.
struct ExpertPlace {
  std::string tensor;
  int64_t index = 0;
  int64_t parts = 1;

  // Its shape, by the tensor's; none where the tensor is of another form or has fewer experts.
  std::optional<Shape> shape_in(const Shape& joined) const;
};
// None for a name that is no expert's.
std::optional<ExpertPlace> expert_place(std::string_view name);

// `tensors` with the experts' matrices put together where `is_joined` says so of the tensor that
// they would be in; those of one tensor follow each other in its order.
std::vector<StreamedTensor> join_experts(
    std::vector<StreamedTensor> tensors,
    const std::function<bool(const std::string& tensor)>& is_joined);

}  // namespace sft
