// Which charts show a run, each with its sentence computed from the data; several runs share them.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "report/charts/chart.h"
#include "report/history/run_history.h"

namespace sft {

struct ShownRun {
  std::string name;  // its folder's, as given
  const RunHistory* history = nullptr;
  std::string folder{};  // where it lies, for commands to copy
  int64_t unread = 0;    // bytes of its file that were not taken in yet
};

// How strongly lines are smoothed: none, and averages over a share of all points.
inline constexpr double kSmoothings[] = {0, 1.0 / 200, 1.0 / 50, 1.0 / 12};
inline constexpr int kUsualSmoothing = 2;

// Those that have anything to show. They point into the histories.
std::vector<ChartSpec> charts_of(std::span<const ShownRun> runs, int smoothing = kUsualSmoothing);

// Of the devices, one line each: utilisation, memory, power, temperature.
std::vector<ChartSpec> device_charts(std::span<const ShownRun> runs);

// Where the loss stands in that list: always first.
ChartSpec loss_chart(std::span<const ShownRun> runs, int smoothing = kUsualSmoothing);

}  // namespace sft
