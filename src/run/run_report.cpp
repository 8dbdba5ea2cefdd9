#include "run/run_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/file.h"
#include "core/file_writer.h"
#include "core/host_name.h"

namespace sft {

namespace {

Json about_run(OpenRun& run) {
  const RunSurroundings& s = run.surroundings();
  return {{"version", s.version},
          {"argv", without_tokens(s.argv)},
          {"host", host_name()},
          {"model",
           {{"name", run.source().name()},
            {"architecture", run.shape().config.architecture},
            {"format", run.source().format()},
            {"parameters", run.shape().values()}}},
          {"data", run.rows(Part::train).report},
          {"world", run.launch().world},
          {"devices", {run.device().name()}},
          {"config", option_values(run.options())}};
}

}  // namespace

RunReport::RunReport(OpenRun& run) : run_(run), model_(run) {
  if (!run.first()) {
    return;
  }
  const auto variable = [&run](const char* name) {
    return run.surroundings().environment.value(name);
  };
  kubeflow_ = KubeflowStatus::from(variable, run.surroundings().version);
  trackers_.emplace(run.options(), variable, run.surroundings().logger);
  log_.emplace(RunLog::Setup{run.options().output_dir,
                             run.surroundings().print,
                             {},
                             [this](const Json& line) {
                               trackers_->line(line);
                               if (kubeflow_) {
                                 kubeflow_->line(line);
                               }
                             },
                             run.options().include_num_input_tokens_seen != "no"});
}

TrainerHooks RunReport::hooks() {
  TrainerHooks hooks;
  hooks.export_model = [this](const fs::path& folder, const TrainedModel& model, ThreadPool* pool) {
    return model_.write(folder, model, pool);
  };
  hooks.on_step = [this](int64_t done, int64_t total, std::string_view tail) {
    if (kubeflow_) {
      kubeflow_->step(done, total);
    }
    if (run_.surroundings().on_step) {
      run_.surroundings().on_step(done, total, tail);
    }
  };
  hooks.on_eval_batch = run_.surroundings().on_eval_batch;
  hooks.on_checkpoint = [this](const fs::path& folder, int64_t step) {
    if (run_.push() != nullptr) {
      run_.push()->checkpoint(folder, step);
    }
  };
  hooks.padding = run_.text().padding();
  if (const auto& turn_end = run_.text().turn_end) {
    hooks.turn_end = static_cast<int32_t>(turn_end->id);
  }
  return hooks;
}

void RunReport::begin(const Trainer& trainer) {
  if (log_) {
    const std::string from = run_.checkpoint() ? run_.checkpoint()->string() : "";
    run_.output()->begin(trainer.run_id(), run_.launch().id, from, run_.surroundings().logger);
    log_->start(trainer.run_id(), about_run(run_), from);
  }
  if (run_.surroundings().on_training) {
    run_.surroundings().on_training();
  }
}

void RunReport::save(const SavedWeights& weights) {
  if (!log_) {
    return;
  }
  const fs::path folder = run_.options().output_dir;
  const std::vector<std::string> changes =
      model_.write(folder, weights.model(), &run_.device().threads()).changes;
  run_.output()->model_saved();
  write_text(folder / "training_args.json", to_text(option_values(run_.options()), 2) + "\n");
  run_.surroundings().logger.note(
      fmt::format("saved the model to {} ({})", folder.string(),
                  changes.empty() ? "configuration as in the source"
                                  : fmt::format("changed {}", fmt::join(changes, "; "))));
}

void RunReport::end(const TrainOutcome& outcome) {
  if (log_) {
    log_->end(outcome.stopped_by == 0 ? RunStatus::done : RunStatus::stopped);
  }
  if (run_.push() != nullptr && outcome.stopped_by == 0) {
    run_.push()->finish(run_.options().output_dir);
  }
}

void RunReport::failed(const Error& why) {
  try {
    if (log_) {
      log_->end(RunStatus::failed, why.code());
    }
  } catch (const Error&) {  // the disk is full, say: the first error is the one to show
  }
}

}  // namespace sft
