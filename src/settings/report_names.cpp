#include "settings/report_names.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/error.h"
#include "core/strings.h"

namespace sft {
namespace {

// What others of transformers' trackers are called, so that the answer is about them.
constexpr std::array kElsewhere{"azure_ml", "clearml", "codecarbon", "comet_ml", "dagshub",
                                "dvclive",  "flyte",   "neptune",    "swanlab"};

}  // namespace

std::vector<std::string> tracker_names(const std::vector<std::string>& report_to) {
  const std::vector<std::string> known(kTrackers.begin(), kTrackers.end());
  std::vector<std::string> names;
  for (const std::string& wish : report_to) {
    if (wish == "all") {
      std::vector<std::string> files = known;
      std::erase(files, "mlflow");
      return files;
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
                      fmt::join(known, ", ")));
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

bool is_answer_metric(const std::string& metric) {
  const std::string name = metric.starts_with("eval_") ? metric.substr(5) : metric;
  return std::ranges::find(kAnswerMetrics, name) != kAnswerMetrics.end();
}

void check_metric(const std::string& metric, bool answers) {
  const std::string name = metric.starts_with("eval_") ? metric.substr(5) : metric;
  const bool of_answers = is_answer_metric(metric);
  if (std::ranges::find(kMetrics, name) != kMetrics.end() || (of_answers && answers)) {
    return;
  }
  if (of_answers) {
    throw Error("C053", fmt::format("--metric_for_best_model is {}, and the model answers nothing "
                                    "when it is evaluated",
                                    metric))
        .hint("--eval_samples 16");
  }
  std::vector<std::string> known(kMetrics.begin(), kMetrics.end());
  if (answers) {
    known.insert(known.end(), kAnswerMetrics.begin(), kAnswerMetrics.end());
  }
  const std::string near =
      name.find("acc") != std::string::npos ? "mean_token_accuracy" : nearest(name, known);
  throw Error("C053", fmt::format("--metric_for_best_model is {}, and evaluation gives {}", metric,
                                  fmt::join(known, ", ")))
      .hint(fmt::format("--metric_for_best_model {}", near.empty() ? "loss" : near));
}

}  // namespace sft
