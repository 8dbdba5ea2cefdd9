// What people and their tools see of a run: metrics.jsonl and the trackers that follow it, a job's
// status, checkpoints on the hub, the model in output_dir. The first rank writes it; on the others
// nothing happens. Used by run_training.
#pragma once

#include <memory>
#include <optional>

#include "report/device_watch.h"
#include "report/history/run_follower.h"
#include "report/run_log.h"
#include "report/trackers/kubeflow_status.h"
#include "report/trackers/tracker.h"
#include "run/open_run.h"
#include "run/sample_writer.h"
#include "run/saved_model.h"

namespace sft {

class RunReport {
 public:
  // Of a run whose outputs are taken and whose rows are there.
  explicit RunReport(OpenRun& run);

  RunLog* log() { return log_ ? &*log_ : nullptr; }
  TrainerHooks hooks();

  void begin(const Trainer& trainer);
  void save(const SavedWeights& weights);
  void end(const TrainOutcome& outcome);
  void failed(const Error& why);

 private:
  void draw();
  void complete_card(const fs::path& card);
  void export_files();

  OpenRun& run_;
  SavedModel model_;
  std::optional<SampleWriter> samples_;
  std::optional<Trackers> trackers_;
  std::unique_ptr<KubeflowStatus> kubeflow_;
  std::optional<RunLog> log_;
  std::optional<RunFollower> follower_;
  std::optional<DeviceWatch> watch_;  // writes into the log
};

}  // namespace sft
