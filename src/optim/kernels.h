// The optimizer's kernels of a kind of device; see ops/kernels.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/dtype.h"
#include "device/kernel.h"
#include "formats/block8.h"
#include "optim/rules.h"
#include "optim/state_layout.h"

namespace sft {

// The numbers of one update, of whichever rule.
class RuleScalars {
 public:
  template <class T>
  void set(const T& scalars) {
    static_assert(sizeof(T) <= sizeof bytes_ && std::is_trivially_copyable_v<T>);
    std::memcpy(bytes_, &scalars, sizeof scalars);
  }
  template <class T>
  SFT_ELEMENT const T& as() const {
    return *reinterpret_cast<const T*>(bytes_);
  }

 private:
  alignas(8) std::byte bytes_[48] = {};
};

// A state slot's buffers; null where the settings do not need it.
struct SlotCall {
  std::byte* values;
  float* scales;  // of 8-bit blocks
  int book;       // which of the two books they are written in
};

// One update of elements [begin, end) of the layout, whole tiles all, those of `rule` or, in the
// pass after whole tensors, of what was taken whole. Weights, gradients and the
// copy begin at element `begin`; states are those of the optimizer's whole range.
struct UpdateCall {
  RuleName rule;
  bool after_whole;
  int64_t begin, end;
  void* weights;
  DType weight_type;  // f32, or bf16, which is rounded stochastically
  float* gradients;
  void* copy;  // what matmuls read, in `copy_type`; may be null
  DType copy_type;
  const StateSegment* segments;  // on the device; sorted, without gaps
  int segment_count;
  SlotCall slots[kMaxSlots];
  const block8::Book* books;  // both, on the device; null without 8-bit blocks
  float clip;                 // what gradients are multiplied by first
  float decay, no_decay;      // the rule's factor for weights that decay, and for others
  RuleScalars scalars;
  uint64_t seed, step;  // of stochastic rounding
};

// Whether a segment's elements are of a call.
SFT_ELEMENT bool is_concerned(const UpdateCall& call, const StateSegment& s) {
  return call.after_whole ? s.whole : s.rule == call.rule;
}

SFT_KERNEL(void, update, const UpdateCall& call);
// float32 within a chunk, double across; the same for any number of threads.
SFT_KERNEL(double, l2_norm, const float* x, int64_t n);
// A tensor's gradient becomes its direction. `workspace`: whole_workspace bytes.
SFT_KERNEL(void, whole, WholeStep step, const WholeTensor& tensor, const WholeScalars& scalars,
           std::byte* workspace);

#define SFT_OPTIM_KERNELS(KERNEL) \
  KERNEL(update)                  \
  KERNEL(l2_norm)                 \
  KERNEL(whole)

struct OptimKernels {
  SFT_OPTIM_KERNELS(SFT_KERNEL_ENTRY)
};

const OptimKernels& optim_kernels(const Device& device);

}  // namespace sft
