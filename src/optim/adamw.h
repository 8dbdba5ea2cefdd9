// AdamW over flat buffers, in the two groups that transformers makes: with weight decay, and
// without for norms and biases. Loshchilov and Hutter, "Decoupled weight decay regularization"
// (2019), with torch.optim.AdamW's order of operations.
#pragma once

#include <vector>

#include "core/thread_pool.h"
#include "device/device.h"
#include "graph/parameter.h"

namespace sft {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0.0;
};

class AdamW {
 public:
  // Keeps references to specs and layout.
  AdamW(Device& device, const std::vector<ParamSpec>& specs, const ParamLayout& layout,
        const AdamWOptions& options);

  // One update of `weights` by `gradients`, both flat in the layout, each gradient first multiplied
  // by `clip`. `step` counts from 1. `copy` (null: none) gets the new weights in `copy_type`.
  void step(float* weights, const float* gradients, double learning_rate, double clip, int64_t step,
            void* copy = nullptr, DType copy_type = DType::f32);

  // What a checkpoint holds of it, by global name: views of the device's memory, to be read or
  // written.
  std::vector<NamedTensor> state() const;
  // The moments, flat in the same layout.
  float* first_moment() { return first_.f32(); }
  float* second_moment() { return second_.f32(); }
  size_t bytes() const { return first_.size() + second_.size(); }

 private:
  struct Segment {
    int64_t begin, end;
    bool decay;
  };
  Device& device_;
  const std::vector<ParamSpec>& specs_;
  const ParamLayout& layout_;
  AdamWOptions options_;
  std::vector<Segment> segments_;  // neighbours of the same kind joined
  Buffer first_, second_;
};

// The L2 norm of a flat buffer of the device; the same for any number of threads.
double l2_norm(Device& device, const float* x, int64_t n);

// What gradients are multiplied by so that their norm is at most `max_norm` (0: no limit), as
// torch.nn.utils.clip_grad_norm_ has it.
double clip_factor(double norm, double max_norm);

}  // namespace sft
