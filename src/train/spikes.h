// Steps whose loss stands out from those before them. Used by the trainer, which names their rows.
#pragma once

#include <cstdint>
#include <optional>

namespace sft {

class SpikeWatch {
 public:
  struct Spike {
    double mean = 0, deviations = 0;  // of the steps before, and how far away this one is
  };
  // Takes in a step's loss: a spike where it is more than 6 standard deviations, and a tenth of
  // the mean, above the steps before, of which there are 20 at least. A spike is not taken into
  // the mean, but moves it a little: a loss that stays up is no spike for long.
  std::optional<Spike> look(double loss);

 private:
  double mean_ = 0, variance_ = 0;  // moving, over some 50 steps
  int64_t steps_ = 0;
};

}  // namespace sft
