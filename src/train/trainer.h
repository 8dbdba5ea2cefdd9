// The training run of one rank: batches through the program, gradients across ranks, the optimizer,
// and what is logged, evaluated and saved on the way. cli/train.cpp puts the parts together.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "comm/communicator.h"
#include "core/log.h"
#include "data/tokens/loader.h"
#include "io/checkpoint.h"
#include "io/model_saver.h"
#include "optim/schedule.h"
#include "report/run_log.h"
#include "settings/train_options.h"
#include "state/gathered_state.h"
#include "state/loaded_model.h"
#include "state/sharder.h"
#include "train/background_save.h"
#include "train/batch_runner.h"
#include "train/evaluate.h"
#include "train/memory_plan.h"
#include "train/run_state.h"
#include "train/spikes.h"
#include "train/step_times.h"

namespace sft {

// What a rank stands on; all of it outlives the trainer.
struct RankContext {
  Device& device;
  Communicator& comm;
  const Logger& logger;
  const std::atomic<int>* stop_signal = nullptr;  // polled between steps; null or 0: go on
  std::atomic<int>* save_signal = nullptr;        // not 0: save after this step, and set it to 0
  std::string run{};  // the id of a run that begins; one that is resumed has its checkpoint's

  int stopped_by() const { return stop_signal == nullptr ? 0 : stop_signal->load(); }
};

// What becomes a model folder.
struct TrainedModel {
  std::span<const StreamedTensor> weights;
  bool ends_turns = false;  // some step of the run has trained TrainerHooks::turn_end
  bool chats = false;       // or a row that was made for it with the chat template
};

// What the trainer asks of others.
struct TrainerHooks {
  // Writes a model into a folder and says which files. Called on rank 0 only, from the thread that
  // saves, without a pool.
  std::function<SaveReport(const fs::path& folder, const TrainedModel& model, ThreadPool* pool)>
      export_model;
  // The token at the end of a turn, on all ranks.
  std::optional<int32_t> turn_end{};
  // Steps done, and a few words for the progress line.
  std::function<void(int64_t done, int64_t total, std::string_view tail)> on_step;
  // Evaluation batches done.
  std::function<void(int64_t done, int64_t total)> on_eval_batch;
  // A checkpoint is complete.
  std::function<void(const fs::path& folder, int64_t step)> on_checkpoint{};
  // What a run that goes on must have in common with the one that was saved, by name. Asked when a
  // checkpoint is saved, from the thread that does so: it may read rows.
  std::function<Json()> identity{};
  // Where the model writes answers when it is evaluated. Called on every rank; nothing when some
  // rank was told to stop. What it works in, and who is told where programs are.
  std::function<std::optional<WrittenSamples>(Arena& arena, BlockWatcher* watcher)> write_samples{};
  // What TRL would pad with, which it does not count where batches have no padding.
  std::optional<int32_t> padding{};
};

struct TrainOutcome {
  int64_t steps = 0;
  int64_t skipped_steps = 0;
  int stopped_by = 0;  // the signal, or 0
  std::string last_checkpoint;
};

// Tensors that outlive the trainer's steps only until the next.
struct SavedWeights {
  std::optional<GatheredState> memory;
  std::vector<StreamedTensor> tensors;
  bool ends_turns = false, chats = false;

  TrainedModel model() const { return {tensors, ends_turns, chats}; }
};

// What can be told of a checkpoint before a model is loaded: M260-M263 when it is not whole (not
// looked at when it is `verified`), M269 when it holds no run's state or another version's, M266
// when another program wrote it and --resume_with_changes is not given.
void check_resumable(const fs::path& checkpoint, const TrainOptions& options, ThreadPool& pool,
                     bool verified = false);

// What the saved run must have in common with one that goes on, as TrainerHooks::identity gave it;
// nothing where another program saved the checkpoint. M264 when it is damaged.
std::optional<Json> saved_identity(const fs::path& checkpoint);
// M264 unless the tensors of a checkpoint are those that such a run saves: no fewer, no more.
void check_state_tensors(const fs::path& checkpoint, const Model& model, DType weight_type,
                         const OptimizerSettings& optimizer);

class Trainer {
 public:
  // `eval` may be null; `log` is null on every rank but 0. `memory` is plan_run's.
  Trainer(RankContext context, const TrainOptions& options, LoadedModel& model,
          const PreparedDataset& train, const PreparedDataset* eval, RunLog* log,
          TrainerHooks hooks, const MemoryPlan& memory);

  const RowNotes& notes() const { return notes_; }
  int64_t total_steps() const { return state_.total_steps; }
  const std::string& run_id() const { return state_.run; }
  const MemoryPlan& memory() const { return memory_; }

  // Goes on from a checkpoint folder that check_resumable has passed, bit for bit. M264 when it is
  // of another model.
  void resume(const fs::path& checkpoint);

  // Trains to the end, or until the stop signal. At the end `on_trained` is called on every rank:
  // the weights are final, and the last checkpoint may still be on its way to the disk.
  TrainOutcome run(const std::function<void()>& on_trained = {});

  // The weights as they are now, for rank 0 to save; every rank calls it.
  SavedWeights weights();

 private:
  // How often something happens: by steps, at the end of epochs, or never.
  struct Rhythm {
    std::string strategy;
    int64_t every = 0;
  };

  // Of the single steps since the last log line.
  struct Extremes {
    std::optional<double> low, high;  // loss
    std::optional<double> grad_norm;  // highest
  };

  bool due(const Rhythm& rhythm) const;
  void train_step();
  // Before each step, and `over` once after the last.
  void trace_steps(int64_t first_step, bool over = false);
  Trace* trace() { return trace_ ? &*trace_ : nullptr; }
  // The step's loss. `scale`: what a sum of this rank's losses counts for.
  double balance_coefficient() const;  // of the routers' auxiliary loss in the loss
  double run_batches(const std::vector<MicroBatch>& batches, double scale);
  std::vector<float> noise_of(const MicroBatch& batch, size_t number);
  uint64_t dropout_seed() const;  // of this step
  int64_t input_tokens(const MicroBatch& batch) const;
  void update(double learning_rate);
  void skip_update(const std::vector<MicroBatch>& batches, double scale);
  void lower_loss_scale();
  double loss_scale() const { return state_.scaler ? state_.scaler->scale() : 1.0; }
  void after_step();
  int stop_requested() const;
  bool save_requested() const;
  void note_step(const std::vector<MicroBatch>& batches, double loss);
  void note_spike(const std::vector<MicroBatch>& batches, double loss,
                  const SpikeWatch::Spike& spike);
  std::optional<double> flop_share(double tokens_per_s) const;
  void log_interval();
  void evaluate_and_track();
  // The metrics of what was written; nothing when a rank was told to stop.
  std::optional<Json> write_samples();
  void count_no_better(double metric);
  bool stops_early() const;
  void track_best(double metric);
  bool is_better(double metric, const std::optional<double>& than) const;
  void note_saved();
  void drop_best_elsewhere();
  int64_t best_to_load();
  int64_t loadable_best() const;
  void plan_steps(int64_t total);
  std::vector<StreamedTensor> fix_state();
  void save_checkpoint();
  void finish_save();
  fs::path checkpoint_folder(int64_t step) const;
  void fill_state();
  TrainOutcome finish(double seconds, int64_t first_step, const std::function<void()>& on_trained);
  double learning_rate() const;
  void load_best(int64_t step);
  void load_weights(const fs::path& checkpoint);
  void resume_foreign(const fs::path& checkpoint);
  Json saved_state();
  void restore();
  Cursor place_to_go_on(Cursor saved) const;
  void restore_position();
  void read_parts(const fs::path& file, std::span<const HeldPart> parts) const;

  RankContext context_;
  const TrainOptions& options_;
  LoadedModel& model_;
  RunLog* log_;
  TrainerHooks hooks_;
  const PreparedDataset& train_;
  int64_t train_rows_;
  MemoryPlan memory_;
  std::unique_ptr<TrainLoader> loader_;
  std::optional<EvalLoader> eval_loader_;
  RunState state_;
  int64_t planned_steps_ = 0;  // by the options alone: all, unless other batches were resumed with
  Schedule schedule_;
  double parameters_without_embeddings_ = 0;
  double flops_per_token_ = 0;  // of the matrix products
  Sharder sharder_;
  Arena arena_;
  struct {
    bool stop = false, save = false;
  } requested_;  // what some rank was told before this step
  std::optional<BatchRunner> runner_, eval_runner_;

  StepTimes times_;
  SpikeWatch spikes_;
  Extremes extremes_;
  std::vector<BatchStats> batch_stats_;  // of the step's micro-batches on this rank

  double grad_norm_ = 0, last_learning_rate_ = 0;  // of the last step
  std::optional<Evaluated> evaluated_;             // the last step that was
  bool new_best_ = false;
  bool has_evaluated_ = false;         // in this process
  std::optional<int64_t> written_at_;  // the last step whose model has written samples

  std::optional<Trace> trace_;  // while steps are traced
  Rhythm logging_, evaluation_, saving_;
  bool epoch_ended_ = false;
  RowNotes notes_;         // of the rows that this process trained
  std::string diagnosis_;  // of the last skipped step
  int64_t last_saved_ = -1;
  std::string last_checkpoint_;  // a complete one
  fs::path moved_aside_;         // another run's, to make room for the checkpoint being saved
  std::optional<StateSnapshot> snapshot_;  // of the checkpoint being saved, or
  std::optional<GatheredState> gathered_;  // the same from all ranks
  BackgroundSave saving_now_;              // last: it is waited for before anything else goes
};

}  // namespace sft
