// AdamW over flat buffers, or over a shard of them, in the two groups that transformers makes: with
// weight decay, and without for norms and biases. Loshchilov and Hutter, "Decoupled weight decay
// regularization" (2019), with torch.optim.AdamW's order of operations. The moments' formats are in
// optim/state_layout.h, the names that users give them in optim/optimizers.h.
#pragma once

#include <optional>
#include <vector>

#include "device/device.h"
#include "graph/parameter.h"
#include "optim/state_layout.h"

namespace sft {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0.0;
  StateFormat format = StateFormat::f32;
  uint64_t seed = 0;  // of stochastic rounding
};

// One update of a stretch of the layout. Pointers are to the stretch's first element.
struct AdamWStep {
  void* weights = nullptr;
  DType weight_type = DType::f32;  // or bf16: rounded stochastically, there are no masters
  const float* gradients = nullptr;
  double learning_rate = 0.0;
  double clip = 1.0;     // each gradient is multiplied by it first
  int64_t step = 1;      // counts from 1
  void* copy = nullptr;  // gets the new weights in `copy_type`; null: none
  DType copy_type = DType::f32;
  std::optional<ElementRange> range{};  // within the optimizer's, whole tiles; none: all of it
};

class AdamW {
 public:
  // For the elements `range` of the layout, a shard of ZeRO (from and to whole tiles: multiples of
  // kTile); by default all. The result for an element is the same bits however the layout is cut.
  AdamW(Device& device, const std::vector<ParamSpec>& specs, const ParamLayout& layout,
        const AdamWOptions& options, std::optional<ElementRange> range = std::nullopt);

  void step(const AdamWStep& s);

  ElementRange range() const { return layout_.range(); }
  int64_t bytes() const { return layout_.bytes(); }

  // What a checkpoint holds: the parts, and the device buffer that a part lies in.
  const std::vector<StatePart>& parts() const { return parts_; }
  const Buffer& buffer(bool second, bool scale) const {
    return scale ? scales_[second ? 1 : 0] : moments_[second ? 1 : 0];
  }
  std::byte* data(const StatePart& p) const { return buffer(p.second, p.scale).data() + p.at; }

 private:
  Device& device_;
  AdamWOptions options_;
  StateLayout layout_;
  std::vector<StatePart> parts_;
  Buffer table_;  // segments, on the device
  Buffer books_;  // of 8-bit blocks
  Buffer moments_[2], scales_[2];
};

// The L2 norm of a flat buffer of the device; the same for any number of threads.
double l2_norm(Device& device, const float* x, int64_t n);

// What gradients are multiplied by so that their norm is at most `max_norm` (0: no limit), as
// torch.nn.utils.clip_grad_norm_ has it.
double clip_factor(double norm, double max_norm);

}  // namespace sft
