// report.html and loss.svg of a run, beside its metrics.jsonl: written at every save and at the
// end, and by `sft report`.
#pragma once

#include <filesystem>
#include <optional>

#include "report/history/run_follower.h"
#include "report/page/run_charts.h"

namespace sft {

inline constexpr const char* kReportFile = "report.html";
inline constexpr const char* kLossPicture = "loss.svg";

// A run as it is shown, by its folder's name.
ShownRun shown(const RunFollower& run);

// Takes in what is new of the run and writes both files. S001 where they cannot be written.
void write_report(RunFollower& run, double now, std::optional<double> price = {});

}  // namespace sft
