// The names that options of reporting can give: trackers (report/trackers) and metrics of an
// evaluation.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace sft {

inline constexpr std::array<const char*, 4> kTrackers{"mlflow", "tensorboard", "trackio", "wandb"};

// --report_to as names: "none" and "all" (those that need no server) resolved. C127 for a tracker
// that does not exist here.
std::vector<std::string> tracker_names(const std::vector<std::string>& report_to);

// What --metric_for_best_model can be, without "eval_": what every rank knows of an evaluation.
inline constexpr std::array<std::string_view, 3> kMetrics = {"loss", "entropy",
                                                             "mean_token_accuracy"};
// And of one in which the model writes answers.
inline constexpr std::array<std::string_view, 2> kAnswerMetrics = {"exact_match", "rougeL"};
// Whether it is one of the latter.
bool is_answer_metric(const std::string& metric);
// C053 for another name; `answers`: whether the model writes any.
void check_metric(const std::string& metric, bool answers);

}  // namespace sft
