#include "settings/report_names.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/error.h"
#include "core/strings.h"

namespace sft {
namespace {

// What others of transformers' trackers are called, so that the answer is about them.
constexpr std::array kElsewhere{"azure_ml", "clearml", "codecarbon", "comet_ml",
                                "dagshub",  "dvclive", "flyte",      "mlflow",
                                "neptune",  "swanlab", "trackio"};

}  // namespace

std::vector<std::string> tracker_names(const std::vector<std::string>& report_to) {
  const std::vector<std::string> known(kTrackers.begin(), kTrackers.end());
  std::vector<std::string> names;
  for (const std::string& wish : report_to) {
    if (wish == "all") {
      return known;
    }
    if (wish == "none" || wish == "kubeflow") {  // Kubeflow's is told by its variables
      continue;
    }
    if (std::ranges::find(known, wish) == known.end()) {
      const bool elsewhere = std::ranges::find(kElsewhere, wish) != kElsewhere.end();
      Error error(
          "C127",
          fmt::format("--report_to {}: {}; there are {}, and metrics.jsonl is always written", wish,
                      elsewhere ? "sft writes nothing for it" : "no such tracker",
                      fmt::join(known, " and ")));
      const std::string near = nearest(to_lower(wish), known);
      throw near.empty() ? error.hint("--report_to tensorboard")
                         : error.hint(fmt::format("did you mean  --report_to {}?", near));
    }
    if (std::ranges::find(names, wish) == names.end()) {
      names.push_back(wish);
    }
  }
  return names;
}

void check_metric(const std::string& metric) {
  const std::string name = metric.starts_with("eval_") ? metric.substr(5) : metric;
  if (std::ranges::find(kMetrics, name) != kMetrics.end()) {
    return;
  }
  const std::vector<std::string> known(kMetrics.begin(), kMetrics.end());
  const std::string near =
      name.find("acc") != std::string::npos ? "mean_token_accuracy" : nearest(name, known);
  throw Error("C053", fmt::format("--metric_for_best_model is {}, and evaluation gives {}", metric,
                                  fmt::join(known, ", ")))
      .hint(fmt::format("--metric_for_best_model {}", near.empty() ? "loss" : near));
}

}  // namespace sft
