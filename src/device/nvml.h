// What NVIDIA's driver says of the cards while they work: memory, use, temperature, power. The
// library comes with the driver and is loaded when it is there.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sft {

struct CardState {
  double memory_used = 0, memory_total = 0;  // bytes
  std::optional<double> utilisation;         // percent of the last moments with work on the card
  std::optional<double> temperature;         // degrees Celsius
  std::optional<double> power, power_limit;  // watts
  std::optional<double> clock;               // megahertz
  bool slowed_down = false;                  // for its power, its heat or the supply
};

class Nvml {
 public:
  // Null where there is no driver or none of the cards is there. `visible`: CUDA_VISIBLE_DEVICES,
  // which decides what card is whose; "" for all. At most `most` cards, in that order.
  static std::unique_ptr<Nvml> open(const std::string& visible, int most);
  virtual ~Nvml() = default;

  virtual int cards() const = 0;
  // Nothing when the driver does not answer for it.
  virtual std::optional<CardState> state(int card) = 0;
};

}  // namespace sft
