// The one way into a run. Training, --dry_run, `sft inspect`, `sft generate`, `sft bench` and the
// tests open a run here and ask for the stages that they need. A stage is made when it is first
// asked for, after those it stands on, and lives as long as the run. What is wrong is refused by
// the stage that it belongs to, with the same error whoever asks:
//
//   check        inputs, device, outputs, text, hub, checkpoint: refusals that cost nothing
//   device       the GPU or the CPU, and its threads                                      G020
//   source       the model's files                                 C030, C075, C079, M200-M249
//   shape        its parameters, and what of them is trained      M030-M036, M258, C190-C197
//   text         its tokenizer and template; the files that saving and loading will read
//                                                                  M010, M244-M250, D070-D075
//   checkpoint   where the run goes on, with the same options                  M260-M269, C063
//   rows         the data                                                     C031, D001-D062
//   steps        their batches                                               C124, D063, M037
//   memory       the plan of the device's memory                                          G010
//   weights      on the device, or random
//   ranks        what moves data between them
//   trainer      all of these together
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "comm/communicator.h"
#include "data/dataset.h"
#include "data/prompts.h"
#include "io/config_quantisation.h"
#include "io/model_source.h"
#include "run/choose_device.h"
#include "run/hub_push.h"
#include "run/output_folder.h"
#include "run/run_adapter.h"
#include "run/surroundings.h"
#include "run/text_setup.h"
#include "settings/train_options.h"
#include "state/loaded_model.h"
#include "train/memory_plan.h"
#include "train/trainer.h"

namespace sft {

// What a run does with the places it writes to: it makes and locks its folder and the repository
// on the hub, and keeps tokens for the next run; or it looks whether it could.
enum class Outputs { checked, taken };

// What a caller has already, in place of what the run would make of its options. Outlives the run.
struct RunParts {
  const PreparedDataset* train = nullptr;  // then no files of data are read
  const PreparedDataset* eval = nullptr;   // likewise, where `train` is given
  fs::path config{};            // a config.json, and with it a model that is no more than that
  bool random_weights = false;  // always so for such a model
  bool only_used = false;       // nothing is trained, and weights stay as they are stored
  std::function<Communicator&(Device& device)> ranks{};  // once
  std::function<void(Model& shape)> adapt{};             // says what of it is trained, say
  std::string id{};                                      // of a run that begins
  fs::path adapter{};                                    // an adapter's folder, for the model
};

// Optimizer steps.
struct StepCount {
  int64_t per_epoch = 0, total = 0;
};

class OpenRun {
 public:
  OpenRun(TrainOptions options, const RunSurroundings& surroundings,
          Outputs outputs = Outputs::checked, RunParts parts = {});
  ~OpenRun();
  OpenRun(const OpenRun&) = delete;
  OpenRun& operator=(const OpenRun&) = delete;

  void check();

  // With what `steps` has found out (--auto_find_batch_size).
  const TrainOptions& options() const { return options_; }
  const RunSurroundings& surroundings() const { return surroundings_; }
  const LaunchEnvironment& launch() const { return surroundings_.launch; }
  bool first() const { return launch().rank == 0; }  // of the ranks: it writes what people read

  Device& device();
  DType compute();
  Holding holding();
  const ModelSource& source();
  const Json& config();  // config.json, of the source or by itself
  // How weights are kept by a config.json that there is nothing beside.
  ConfigQuantisation quantisation_alone();
  const Model& shape();
  // With --use_peft, or where the model is an adapter's folder.
  const std::optional<RunAdapter>& adapter();
  const TextSetup& text();
  const std::optional<fs::path>& checkpoint();

  // For looking at rows one by one; `rows` is made from it.
  const DataContext& data();
  // The first rows of all data that the run reads: its refusals that need no more.
  void check_rows();
  bool evaluates() const;
  const Prepared& rows(Part part);
  // The same where rows are given; no evaluation: null.
  const PreparedDataset& train();
  const PreparedDataset* eval();
  // Of all rows of `train` or `eval`; "" where they are made while training runs.
  const std::string& checksum(Part part);
  // The files that `train` is made of, in order; null where rows are given.
  const std::vector<fs::path>* train_files();

  // What the model answers when it is evaluated; none where it does not.
  const std::vector<Prompt>& prompts();

  StepCount steps();
  MemoryWish memory_wish();
  const MemoryPlan& memory();
  // What a checkpoint of this run is compared by.
  const Json& identity();
  // C063 where the checkpoint to go on from was saved by a run that differs in what matters, and
  // --resume_with_changes is not given; M264 where its tensors are not this run's.
  void check_same_run();
  // The ranks compare model and data; C120 where they differ.
  void agree();
  LoadedModel& weights();
  Communicator& ranks();
  // Where there is a checkpoint, it goes on from it. `log`: the first rank's, null on others. The
  // caller keeps it, together with what the hooks use, and the run lives longer.
  std::unique_ptr<Trainer> trainer(RunLog* log, TrainerHooks hooks);

  // Null on all ranks but the first, and where outputs are checked only.
  OutputFolder* output() { return output_ ? &*output_ : nullptr; }
  HubPush* push() { return push_ ? &*push_ : nullptr; }

 private:
  RankControl& control();
  ThreadPool& pool();
  void open_outputs();
  void open_adapter();
  void add_adapter();
  void say_adapter_options() const;
  int64_t fitting_batch();
  const Json* saved_run();  // the identity in the checkpoint, null where there is none
  void refuse_changes(const std::string& differences) const;
  void check_same_settings();  // as check_same_run, of what is known before the data are read

  TrainOptions options_;
  const RunSurroundings& surroundings_;
  Outputs outputs_;
  RunParts parts_;

  // Stages in the order in which they are made; what stands on others goes first.
  std::unique_ptr<RankControl> alone_;
  ChosenDevice device_;
  std::unique_ptr<ModelSource> source_;
  Json own_config_;  // where the model is no more than that
  std::optional<AdapterFiles> given_adapter_;
  std::optional<Model> shape_;
  std::optional<RunAdapter> adapter_;
  std::optional<TextSetup> text_;
  std::optional<OutputFolder> output_;
  std::optional<HubPush> push_;
  std::optional<std::optional<fs::path>> checkpoint_;
  std::optional<ThreadPool> pool_;
  std::optional<DataContext> data_;
  bool rows_checked_ = false;
  std::optional<Prepared> train_, eval_;
  std::optional<std::string> train_checksum_, eval_checksum_;
  std::optional<std::vector<Prompt>> prompts_;
  std::optional<StepCount> steps_;
  Json identity_;  // null: not made yet
  std::optional<std::optional<Json>> saved_run_;
  bool same_run_checked_ = false;
  std::optional<MemoryPlan> memory_;
  std::optional<LoadedModel> weights_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Communicator> connected_;
  Communicator* ranks_ = nullptr;
  std::shared_ptr<void> abort_;  // ends the communicator's waiting when another rank fails
};

}  // namespace sft
