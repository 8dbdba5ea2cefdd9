// The dynamic loss scale of float16 training, as torch.amp.GradScaler has it with its defaults.
// Used by the trainer.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/saved_state.h"

namespace sft {

class GradScaler {
 public:
  // What the loss is multiplied by.
  double scale() const { return scale_; }

  // After each step: whether its gradients were all finite.
  void update(bool finite) {
    if (!finite) {
      scale_ *= kBackoff;
      good_steps_ = 0;
    } else if (++good_steps_ == kInterval) {
      good_steps_ = 0;
      const auto grown = static_cast<float>(scale_ * kGrowth);
      scale_ = std::isfinite(grown) ? double{grown} : scale_;
    }
  }

  void visit(StateTable& v) {
    v("scale", &scale_);
    v("growth_tracker", &good_steps_);
  }

 private:
  static constexpr double kGrowth = 2.0, kBackoff = 0.5;
  static constexpr int64_t kInterval = 2000;
  double scale_ = 65536.0;
  int64_t good_steps_ = 0;
};

}  // namespace sft
