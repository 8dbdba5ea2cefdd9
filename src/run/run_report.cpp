#include "run/run_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "core/error.h"
#include "core/file.h"
#include "core/file_writer.h"
#include "core/host_name.h"
#include "report/page/card_section.h"
#include "report/page/report_files.h"
#include "run/run_exports.h"

namespace sft {

namespace {

double unix_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// What of the machine and of the variables bears on how a run goes. No variable's value is written
// that may be a secret.
Json surroundings_of(OpenRun& run) {
  const Environment& variables = run.surroundings().environment;
  Json out{{"cpu", cpu_features()},
           {"threads", run.device().threads().size()},
           {"memory_free", available_memory()}};
  for (const char* name : {"CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "SLURM_JOB_NODELIST",
                           "HF_HUB_OFFLINE", "OMP_NUM_THREADS"}) {
    if (!variables.value(name).empty()) {
      out[name] = variables.value(name);
    }
  }
  return out;
}

Json about_run(OpenRun& run, int64_t steps) {
  const RunSurroundings& s = run.surroundings();
  return {{"version", s.version},
          {"argv", without_tokens(s.argv)},
          {"host", host_name()},
          {"pid", ::getpid()},
          {"total_steps", steps},
          {"model",
           {{"name", run.source().name()},
            {"architecture", run.shape().config.architecture},
            {"format", run.source().format()},
            {"parameters", run.shape().values()}}},
          {"data", run.rows(Part::train).report},
          {"world", run.launch().world},
          {"devices",
           Json(static_cast<size_t>(std::max(1, run.launch().local_world)), run.device().name())},
          {"environment", surroundings_of(run)},
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
                               if (run_.surroundings().on_line) {
                                 run_.surroundings().on_line(line);
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
    draw();
    if (run_.push() != nullptr) {
      run_.push()->checkpoint(folder, step);
    }
  };
  if (!run_.prompts().empty()) {
    samples_.emplace(run_);
    hooks.write_samples = [this](Arena& arena, BlockWatcher* watcher) {
      return samples_->write(arena, watcher);
    };
  }
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
    log_->start(trainer.run_id(), about_run(run_, trainer.total_steps()), from);
    follower_.emplace(run_.options().output_dir);
    const bool cards = run_.device().kind() == DeviceKind::cuda;
    watch_.emplace(cards ? Nvml::open(run_.surroundings().environment.value("CUDA_VISIBLE_DEVICES"),
                                      std::max(1, run_.launch().local_world))
                         : nullptr,
                   [this](int index, const Json& values) {
                     try {
                       log_->device(index, values);
                     } catch (const Error&) {  // the trainer's own lines will say it
                     }
                   });
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
  complete_card(folder / "README.md");
  run_.output()->model_saved();
  write_text(folder / "training_args.json", to_text(option_values(run_.options()), 2) + "\n");
  run_.surroundings().logger.note(
      fmt::format("saved the model to {} ({})", folder.string(),
                  changes.empty() ? "configuration as in the source"
                                  : fmt::format("changed {}", fmt::join(changes, "; "))));
}

// The card was written with the model, which knows nothing of the run.
void RunReport::complete_card(const fs::path& card) {
  if (!follower_ || !is_file(card)) {
    return;
  }
  try {
    follower_->read_all();
    write_text(card, read_text(card) + card_section(follower_->history()));
  } catch (const Error& failure) {
    run_.surroundings().logger.warn(
        fmt::format("the model's card says nothing of the run: {}", failure.message()));
  }
}

// Looking at a run never ends it.
void RunReport::draw() {
  if (!follower_) {
    return;
  }
  try {
    write_report(*follower_, unix_now());
  } catch (const std::exception& failure) {
    run_.surroundings().logger.warn(
        fmt::format("{} is not written: {}", kReportFile, failure.what()));
    follower_.reset();
  }
}

// Behind the model, and before anything says that the run is done.
void RunReport::export_files() {
  const std::vector<ExportReport> files = write_exports(run_);
  for (const ExportReport& file : files) {
    log_->event("info", {},
                fmt::format("exported {} ({:.1f} MB)", file.file.filename().string(),
                            static_cast<double>(file.bytes) / 1e6),
                "", "exported");
  }
  const fs::path card = fs::path(run_.options().output_dir) / "README.md";
  if (!files.empty() && is_file(card)) {
    write_text(card, read_text(card) + export_section(files));
  }
}

void RunReport::end(const TrainOutcome& outcome) {
  watch_.reset();
  if (log_ && outcome.stopped_by == 0) {
    export_files();
  }
  if (log_) {
    log_->end(outcome.stopped_by == 0 ? RunStatus::done : RunStatus::stopped);
  }
  draw();
  if (run_.push() != nullptr && outcome.stopped_by == 0) {
    run_.push()->finish(run_.options().output_dir);
  }
}

void RunReport::failed(const Error& why) {
  try {
    watch_.reset();
    if (log_) {
      log_->event("error", why.code(), why.message(), why.hint(), "failed");
      log_->end(RunStatus::failed, why.code(), {{"text", why.message()}});
    }
    draw();
  } catch (const Error&) {  // the disk is full, say: the first error is the one to show
  }
}

}  // namespace sft
