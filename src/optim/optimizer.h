// An optimizer over flat buffers, or over a shard of them, in the two groups that transformers
// makes: with weight decay, and without for norms and biases. What happens to an element is its
// rule's (optim/rule.h), where its state lies optim/state_layout.h's; the names that users type are
// in optim/optimizers.h.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "device/device.h"
#include "graph/parameter.h"
#include "optim/kernels.h"
#include "optim/state_layout.h"

namespace sft {

// One update of a stretch of the layout. Pointers are to the stretch's first element.
struct OptimizerStep {
  void* weights = nullptr;
  DType weight_type = DType::f32;  // or bf16: rounded stochastically, there are no masters
  float* gradients = nullptr;      // a step that takes whole tensors writes them
  double learning_rate = 0.0;
  double clip = 1.0;     // each gradient is multiplied by it first
  int64_t step = 1;      // counts from 1
  void* copy = nullptr;  // gets the new weights in `copy_type`; null: none
  DType copy_type = DType::f32;
  std::optional<ElementRange> range{};  // within the optimizer's, whole tiles; none: all of it
};

class Optimizer {
 public:
  // For the elements `range` of the layout, a shard of ZeRO (from and to whole tiles: multiples of
  // kTile); by default all. The result for an element is the same bits however the layout is cut.
  Optimizer(Device& device, const std::vector<ParamSpec>& specs, const ParamLayout& layout,
            const OptimizerSettings& settings, std::optional<ElementRange> range = std::nullopt);

  void step(const OptimizerStep& s);
  // After `step` of everything, where some tensors are taken whole: `gradients` then holds what the
  // pass before made of them for all elements of `whole`, which reaches to the ends of every tensor
  // of this range; the other fields of `s` are as before. `workspace`: whole_workspace bytes.
  bool takes_whole() const { return !layout_.tensors().empty(); }
  void step_whole(OptimizerStep s, ElementRange whole, std::byte* workspace);

  ElementRange range() const { return layout_.range(); }
  int64_t bytes() const { return layout_.bytes(); }

  // What a checkpoint holds: the parts, and the device buffer that a part lies in.
  const std::vector<StatePart>& parts() const { return parts_; }
  const Buffer& buffer(int slot, bool scale) const {
    return slot == kMaxSlots ? whole_
           : scale           ? scales_[static_cast<size_t>(slot)]
                             : values_[static_cast<size_t>(slot)];
  }
  std::byte* data(const StatePart& p) const { return buffer(p.slot, p.scale).data() + p.at; }

 private:
  UpdateCall call_of(const OptimizerStep& s, RuleName rule) const;

  Device& device_;
  OptimizerSettings settings_;
  StateLayout layout_;
  std::vector<RuleName> rules_;
  std::vector<StatePart> parts_;
  Buffer table_;                                   // segments, on the device
  Buffer books_;                                   // of 8-bit blocks
  std::array<Buffer, kMaxSlots> values_, scales_;  // empty where the slot is not used
  Buffer whole_;                                   // states of whole tensors
};

// The L2 norm of a flat buffer of the device; the same for any number of threads.
double l2_norm(Device& device, const float* x, int64_t n);

// What gradients are multiplied by so that their norm is at most `max_norm` (0: no limit), as
// torch.nn.utils.clip_grad_norm_ has it.
double clip_factor(double norm, double max_norm);

}  // namespace sft
