// The names that options of reporting can give: trackers (report/trackers) and metrics of an
// evaluation.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace sft {

inline constexpr std::array<const char*, 2> kTrackers{"tensorboard", "wandb"};

// --report_to as names: "all" and "none" resolved. C127 for a tracker that does not exist here.
std::vector<std::string> tracker_names(const std::vector<std::string>& report_to);

// What --metric_for_best_model can be, without "eval_": what every rank knows of an evaluation.
inline constexpr std::array<std::string_view, 3> kMetrics = {"loss", "entropy",
                                                             "mean_token_accuracy"};
// C053 for another name.
void check_metric(const std::string& metric);

}  // namespace sft
