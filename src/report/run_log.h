// What a run reports, in three places at once: the console lines of transformers 4 on stdout,
// log_history of trainer_state.json, and output_dir/metrics.jsonl (one JSON object a line, by kind
// "k"). One per run, on rank 0. Writing failures are S001.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "core/error_code.h"
#include "core/file.h"
#include "core/json.h"
#include "core/line_appender.h"
#include "report/samples.h"
#include "report/trainer_state.h"

namespace sft {

// Means over the steps since the last log line, as TRL logs them.
struct TrainLog {
  double loss = 0.0;
  double grad_norm = 0.0;      // before clipping
  double learning_rate = 0.0;  // that the step ran with
  std::optional<double> entropy;
  double num_tokens = 0.0;  // seen since the start of the run
  std::optional<double> mean_token_accuracy;
  std::optional<double> aux_loss{};  // of models with experts

  // For metrics.jsonl only.
  double tokens_per_s = 0.0, step_s = 0.0;
  // Of the single steps that `loss` is the mean of, as far as this process has done them.
  std::optional<double> loss_min{}, loss_max{}, grad_norm_max{};
  std::optional<double> mfu;
  int64_t skipped_steps = 0;         // not finite, since the start of the run
  std::optional<double> loss_scale;  // of float16
};

struct EvalLog {
  double loss = 0.0;
  double runtime = 0.0;  // seconds
  int64_t samples = 0, batches = 0;
  std::optional<double> entropy;
  double num_tokens = 0.0;
  std::optional<double> mean_token_accuracy;
  std::vector<std::pair<std::string, double>> more{};  // by their names
  std::optional<double> aux_loss{};                    // of models with experts
};

struct TrainSummary {
  double runtime = 0.0;  // seconds
  double samples = 0.0;  // seen by this process's steps
  int64_t steps = 0;     // done by this process
  double train_loss = 0.0;
  int64_t tokens = 0;
  // Means over the steps since the last log line, where there are any.
  std::optional<double> entropy{}, num_tokens{}, mean_token_accuracy{}, aux_loss{};
};

// Seconds by activity since the last `time` line; their sum is wall time. `comm`: what the step has
// waited for; what was sent beside the computation took no time of it.
struct TimeLog {
  double data = 0, copy = 0, fwd_bwd = 0, comm = 0, opt = 0, eval = 0, save = 0, host = 0;
  int64_t steps = 0;
};

enum class RunStatus { done, stopped, failed };

class RunLog {
 public:
  struct Setup {
    fs::path output_dir;                           // exists
    std::function<void(std::string_view)> print;   // a line of results; may be empty
    std::function<double()> now;                   // unix seconds; empty: the system's clock
    std::function<void(const Json& line)> also{};  // gets each line of metrics.jsonl too
    bool input_tokens = false;                     // log lines have state().num_input_tokens_seen
  };

  // Opens metrics.jsonl for appending, dropping a half-written last line.
  explicit RunLog(Setup setup);

  // The state that is written; the trainer sets its counters before log, eval and finish.
  TrainerState& state() { return state_; }
  const TrainerState& state() const { return state_; }

  // The `run` line: `id` is the run's, which stays when it is resumed; `about` has argv, versions,
  // host, model, data, world, devices, config, ... To resume, put the checkpoint's TrainerState
  // into state() first and name where it came from.
  void start(const std::string& id, const Json& about, const std::string& resumed_from = "");
  void log(const TrainLog& values);
  // Returns eval_loss and the rest by name, for best-metric and plateau decisions.
  Json eval(const EvalLog& values);
  void samples(const std::vector<SampleLog>& samples);
  void time(const TimeLog& seconds);
  // level: info, warn, error. `kind`, where others look for it: saved, spike, skipped, failed.
  void event(std::string_view level, std::optional<Code> code, std::string_view text,
             std::string_view hint = "", std::string_view kind = "");
  // What a card (-1: the process) takes just now. From any thread.
  void device(int index, const Json& values);
  // The closing train_runtime line (kind "finish"), and trainer_state.json at the root of
  // output_dir.
  void finish(const TrainSummary& summary);
  // The `end` line; `about` may add files, best_step, ....
  void end(RunStatus status, std::optional<Code> code = {}, const Json& about = Json::object());

  // Writes trainer_state.json into a folder (a checkpoint under its temporary name, say).
  void save_state(const fs::path& folder) const;

 private:
  void console(Json values);
  void append(const char* kind, const Json& fields);
  void append_line(const char* kind, const Json& fields);
  void remember(Json values);
  void add_input_tokens(Json& values) const;

  Setup setup_;
  std::mutex mutex_;  // of what a line goes through
  LineAppender metrics_;
  TrainerState state_;
  double began_ = 0.0;
  std::atomic<int64_t> step_{0};  // of the last line that had one
  int64_t tokens_ = 0;
  int64_t input_tokens_before_ = 0;  // when this process began
};

// Its value among those of an evaluation: "loss" -> "eval_loss".
double metric_value(const Json& eval_values, const std::string& metric);

}  // namespace sft
