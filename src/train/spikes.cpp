#include "train/spikes.h"

#include <algorithm>
#include <cmath>

namespace sft {

std::optional<SpikeWatch::Spike> SpikeWatch::look(double loss) {
  constexpr double kDeviations = 6, kShare = 0.1, kWeight = 0.02;
  constexpr int64_t kFirst = 20;
  if (!std::isfinite(loss)) {
    return std::nullopt;  // that is an event of its own
  }
  std::optional<Spike> spike;
  const double deviation = std::sqrt(variance_);
  const double away = loss - mean_;
  if (steps_ >= kFirst && away > kDeviations * deviation && away > kShare * std::abs(mean_)) {
    spike = Spike{mean_, deviation > 0 ? away / deviation : INFINITY};
  }
  const double taken = spike ? std::max(kDeviations * deviation, kShare * std::abs(mean_)) : away;
  const double weight = std::max(kWeight, 1.0 / static_cast<double>(steps_ + 1));
  mean_ += weight * taken;
  variance_ = (1 - weight) * (variance_ + weight * taken * taken);
  ++steps_;
  return spike;
}

}  // namespace sft
