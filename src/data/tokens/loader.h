// The batches of a training run, in TRL's order and sizes, flat and without padding. Used by the
// trainer; one Loader belongs to one rank.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "core/json_fwd.h"
#include "core/saved_state.h"
#include "data/rows/example.h"
#include "data/tokens/prefetcher.h"
#include "data/tokens/sampler.h"

namespace sft {

// Rows side by side: all vectors but cu_seqlens are (tokens).
struct MicroBatch {
  std::vector<int32_t> tokens;
  std::vector<int32_t> positions;   // from 0 in each document
  std::vector<int32_t> targets;     // the next token's label within its document, else kIgnored
  std::vector<int32_t> cu_seqlens;  // (documents + 1), from 0 to tokens
  int64_t num_tokens = 0;  // as TRL counts them: with pad_to_multiple_of where padding-free
  int64_t trained = 0;     // targets that are not kIgnored
  // As TRL lays the batch out: so many sequences of so many tokens, padding included.
  int64_t laid_rows = 0, laid_length = 0;
  int64_t rows = 0;
  int64_t fresh_rows = 0;  // rows, less those repeated to give every rank a full batch
  RowNotes notes{};
  std::vector<int64_t> row_numbers{};  // in the data set; empty where rows come in windows
};

// Where a run stands: `step_in_epoch` optimizer steps of `epoch` are done. Where rows come in
// windows, the next row is row `row` of window `window`. A run that was resumed with other batches
// in the middle of an epoch cuts what was left of it anew, from row `first_row` of the epoch's
// order on; where that order depends on the rows of a step, it was made with `order_rows` of them.
struct Cursor {
  int64_t epoch = 0;
  int64_t step_in_epoch = 0;
  int64_t window = 0, row = 0;
  int64_t first_row = 0, order_rows = 0;
  bool operator==(const Cursor&) const = default;
  void visit(StateTable& v);
};

// The run's generator, as text: where it stands, and where it stood as the epoch began whose order
// was drawn; "" where none is.
struct RandomState {
  std::string now, epoch;
  bool operator==(const RandomState&) const = default;
  void visit(StateTable& v);
};

// What a run that goes on needs of its loader.
struct LoaderState {
  Cursor cursor;
  int64_t rows_done = 0;              // of the cursor's epoch
  int64_t step_rows = 0;              // rows that a step takes
  std::optional<RandomState> random;  // where anything depends on it
  void visit(StateTable& v);
};

struct LoaderOptions {
  int64_t per_device_batch = 8;
  int64_t accumulation = 1;
  int rank = 0;
  int world = 1;
  uint64_t seed = 42;       // data_seed, else seed
  uint64_t run_seed = 42;   // seed: of the run's own generator
  bool seeds_once = false;  // dataloader_persistent_workers: workers get seeds once
  bool drop_last = false;
  Sampling sampling = Sampling::random;
  bool padding_free = false;       // only changes what is counted
  int64_t pad_to_multiple_of = 0;  // likewise; 0: none
  int64_t max_steps = 0;           // of the run: an epoch of rows without end
  int workers = 0;                 // threads that make batches ahead; 0: made when asked for
};

// What the trainer asks for batches. Made by make_loader; D063 when there are no rows, or too few
// for one batch and drop_last. Keeps a reference to the data.
class TrainLoader {
 public:
  TrainLoader(const PreparedDataset& data, LoaderOptions options);
  virtual ~TrainLoader() = default;

  int64_t batches_per_epoch() const { return plan_.batches(); }  // micro-batches of this rank
  int64_t steps_per_epoch() const;                               // the last one may be short
  // Whether the last step of `next` was its epoch's last.
  bool at_epoch_end() const { return cursor_.step_in_epoch == steps_of_epoch(); }
  // As transformers counts them: max_steps when positive, else the epochs' steps rounded up.
  int64_t total_steps(double num_train_epochs, int64_t max_steps) const;
  // Steps from here to the end of that many epochs.
  int64_t steps_left(double num_train_epochs) const;
  // Rows of this epoch's order that are done.
  int64_t rows_done() const;
  int64_t rows_per_epoch() const { return plan_.rows; }

  // The micro-batches of the next optimizer step, at most `accumulation` of them; goes on into the
  // next epoch without end. Throws what making a row threw.
  virtual std::vector<MicroBatch> next() = 0;

  // Epochs done after the last step of `next`, as TRL logs them: 1.5 is half of the second.
  double epoch() const;
  Cursor cursor() const { return cursor_; }
  // The run's generator, torch's default one in TRL: it draws once as an epoch or an evaluation
  // begins (the seeds of torch's DataLoader), some orders, and the noise of a rank that runs alone.
  TorchGenerator& random() { return random_; }
  RandomState random_state() const { return {random_.state(), epoch_random_}; }
  // After `seek`; D062 when the state is damaged.
  virtual void restore_random(const RandomState& state);
  LoaderState state(bool with_random) const;
  // Goes to a place given by `cursor` of a loader with the same options. D062 beyond the epoch's
  // end.
  virtual void seek(const Cursor& cursor);
  // Goes on where another loader stood, whose steps had `step_rows` rows, with `rows` of its epoch
  // done: after these rows, however the batches are cut now. True when they are cut otherwise.
  bool go_on(const Cursor& cursor, int64_t rows, int64_t step_rows);

 protected:
  int64_t step_rows() const {
    return options_.per_device_batch * options_.world * options_.accumulation;
  }
  // Of an epoch whose first `first_row` rows were cut otherwise.
  BatchPlan plan_from(int64_t first_row) const;
  int64_t steps_of(const BatchPlan& plan) const {
    return (plan.batches() + options_.accumulation - 1) / options_.accumulation;
  }
  int64_t steps_of_epoch() const { return steps_of(plan_from(cursor_.first_row)); }
  // Before the first step of an epoch.
  virtual void begin_epoch();

  const PreparedDataset& data_;
  LoaderOptions options_;
  BatchPlan plan_;
  Cursor cursor_;
  TorchGenerator random_;
  std::string epoch_random_;  // the generator as the epoch began, where its order is drawn
  int64_t begun_ = -1;        // the last epoch that has begun
};

std::unique_ptr<TrainLoader> make_loader(const PreparedDataset& data, const LoaderOptions& options);

// Rows in an order over all of them.
class Loader : public TrainLoader {
 public:
  using TrainLoader::TrainLoader;
  ~Loader() override { prefetcher_.reset(); }
  std::vector<MicroBatch> next() override;
  void seek(const Cursor& cursor) override;
  void restore_random(const RandomState& state) override;

 private:
  // An epoch's rows in order; `begins` of the batches where they have no common size.
  struct EpochRows {
    std::vector<int64_t> rows;
    std::vector<int64_t> begins{};
  };
  using Order = std::shared_ptr<const EpochRows>;
  // Null where it is yet to be drawn.
  Order order_of(int64_t epoch);
  EpochRows make_order(int64_t epoch);
  void draw_order(int64_t epoch);
  void begin_epoch() override;
  // Micro-batch `serial` of this rank, counted from the beginning of epoch `start_`.
  MicroBatch make(int64_t serial);

  std::mutex mutex_;
  std::map<int64_t, Order> orders_;  // of the epochs at work
  Cursor start_;                     // the place of the last `seek`
  std::unique_ptr<Prefetcher<MicroBatch>> prefetcher_;
};

// Rows that come in windows: one endless row of them, each step taking those of all ranks.
class WindowLoader : public TrainLoader {
 public:
  using TrainLoader::TrainLoader;
  ~WindowLoader() override { prefetcher_.reset(); }
  std::vector<MicroBatch> next() override;
  void seek(const Cursor& cursor) override;

 private:
  Example next_row();

  std::unique_ptr<Prefetcher<std::vector<Example>>> prefetcher_;
  std::vector<Example> window_;
  bool has_window_ = false;
};

// The batches of an evaluation, in order, once. D063 as above.
class EvalLoader {
 public:
  EvalLoader(const PreparedDataset& data, LoaderOptions options);
  int64_t batches() const { return plan_.batches(); }
  // The next micro-batch of this rank, nothing at the end.
  std::optional<MicroBatch> next();
  void rewind();
  ~EvalLoader() { prefetcher_.reset(); }

 private:
  const PreparedDataset& data_;
  LoaderOptions options_;
  BatchPlan plan_;
  std::vector<int64_t> order_;
  int64_t next_ = 0;
  std::unique_ptr<Prefetcher<MicroBatch>> prefetcher_;
};

// Rows `order[p % order.size()]` for each position, joined.
MicroBatch make_batch(const PreparedDataset& data, const std::vector<int64_t>& order,
                      const std::vector<int64_t>& positions, const LoaderOptions& options);

}  // namespace sft
