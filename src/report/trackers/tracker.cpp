#include "report/trackers/tracker.h"

#include <fmt/format.h>

#include <algorithm>

#include "report/trackers/mlflow.h"
#include "report/trackers/tensorboard.h"
#include "report/trackers/trackio.h"
#include "report/trackers/wandb.h"
#include "settings/report_names.h"
#include "settings/train_options.h"

namespace sft {
namespace {

struct Kind {
  const char* name;
  std::unique_ptr<Tracker> (*make)(const TrainOptions&, const Variables&, const Logger&);
};

constexpr Kind kKinds[] = {
    {"mlflow", make_mlflow},
    {"tensorboard", make_tensorboard},
    {"trackio", make_trackio},
    {"wandb", make_wandb},
};

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
