// One optimizer step on weights and moments in the host's memory, where the processors do it:
// gradients come from the device and new weights go back piece by piece, beside the work on the
// piece before. Used by the sharder with --offload_optimizer.
#pragma once

#include <array>
#include <optional>

#include "optim/optimizer.h"

namespace sft {

class OffloadedUpdate {
 public:
  // Of weights whose copy is in `copy_type`, on `device` or in the host's memory.
  OffloadedUpdate(Device& device, DType copy_type, bool copy_on_host);
  // Pinned memory that it takes, in bytes.
  static int64_t staging_bytes(DType copy_type);

  // `optimizer` and `step.weights` are the host's, `step.gradients` the device's.
  // What the device is given from then on comes after it.
  void run(Optimizer& optimizer, OptimizerStep step);
  // After the last stretch of a step: waits until the new weights are there.
  void finish();

 private:
  static constexpr int64_t kPiece = int64_t{4} << 20;  // elements

  int move(void* to, const void* from, int64_t elements, DType type);

  Device& device_;
  DType copy_type_;
  bool copy_on_host_;
  std::array<Buffer, 2> gradients_, copies_;
  std::array<std::optional<int>, 2> sent_;  // tickets of the copies on their way
};

}  // namespace sft
