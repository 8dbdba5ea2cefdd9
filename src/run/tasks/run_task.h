// Runs a task of lm-evaluation-harness on a model. Used by `sft eval --tasks`.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/json.h"
#include "run/open_run.h"
#include "run/tasks/task_file.h"

namespace sft {

struct TaskSettings {
  int64_t limit = 0;  // rows; 0: all
  bool apply_chat_template = false;
  int64_t batch_size = 8;  // answers that are written at the same time
  uint64_t seed = 42;
};

struct TaskResult {
  // In the form that lm-evaluation-harness writes: what stands under the task's name in "results",
  // "higher_is_better", "n-samples".
  Json results, higher_is_better, samples;
  // Of each row: its place, what was asked, what came of it, and its metrics.
  std::vector<Json> rows;
  int64_t cut = 0;  // contexts that lost their beginning
};

// D086 and the others of TaskDocs. `on_row(done, rows)`: progress.
TaskResult run_task(OpenRun& run, const TaskFile& task, const TaskSettings& settings,
                    const std::function<void(int64_t, int64_t)>& on_row = {});

// The whole of what lm-evaluation-harness writes, without its own settings: results, configs,
// versions, n-shot, higher_is_better, n-samples, and config with the model's name.
Json harness_results(const std::vector<TaskFile>& tasks, const std::vector<TaskResult>& results,
                     const Json& config);

}  // namespace sft
