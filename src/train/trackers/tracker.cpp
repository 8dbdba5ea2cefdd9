#include "train/trackers/tracker.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/strings.h"
#include "train/options.h"
#include "train/trackers/tensorboard.h"
#include "train/trackers/wandb.h"

namespace sft {
namespace {

struct Kind {
  const char* name;
  std::unique_ptr<Tracker> (*make)(const TrainOptions&, const Variables&, const Logger&);
};

constexpr Kind kKinds[] = {
    {"tensorboard", make_tensorboard},
    {"wandb", make_wandb},
};

// What others of transformers' trackers are called, so that the answer is about them.
constexpr std::array kElsewhere{"azure_ml", "clearml", "codecarbon", "comet_ml",
                                "dagshub",  "dvclive", "flyte",      "mlflow",
                                "neptune",  "swanlab", "trackio"};

}  // namespace

std::string tracked_name(std::string_view name) {
  for (const std::string_view part : {"eval", "test"}) {
    if (name.starts_with(part) && name.substr(part.size()).starts_with('_')) {
      return fmt::format("{}/{}", part, name.substr(part.size() + 1));
    }
  }
  return fmt::format("train/{}", name);
}

std::vector<std::pair<std::string, double>> tracked_values(const Json& line) {
  std::vector<std::pair<std::string, double>> out;
  for (const auto& [name, value] : line.items()) {
    if (value.is_number() && name != "t" && name != "step" && name != "samples") {
      out.emplace_back(tracked_name(name), value.get<double>());
    }
  }
  return out;
}

std::vector<std::string> tracker_names(const std::vector<std::string>& report_to) {
  std::vector<std::string> names, known;
  for (const Kind& kind : kKinds) {
    known.emplace_back(kind.name);
  }
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

Trackers::Trackers(const TrainOptions& options, const Variables& variables, const Logger& log)
    : log_(log) {
  for (const std::string& name : tracker_names(options.report_to)) {
    for (const Kind& kind : kKinds) {
      if (name != kind.name) {
        continue;
      }
      try {
        if (auto tracker = kind.make(options, variables, log)) {
          trackers_.push_back(std::move(tracker));
        }
      } catch (const std::exception& failure) {
        log_.warn(fmt::format("{} does not follow this run: {}", name, failure.what()));
      }
    }
  }
}

void Trackers::line(const Json& line) {
  std::erase_if(trackers_, [&](const std::unique_ptr<Tracker>& tracker) {
    try {
      tracker->line(line);
      return false;
    } catch (const std::exception& failure) {
      log_.warn(fmt::format("{} stops following this run, which goes on: {}", tracker->name(),
                            failure.what()));
      return true;
    }
  });
}

}  // namespace sft
