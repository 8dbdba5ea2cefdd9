#include "data/tokens/loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "core/error.h"
#include "core/json.h"
#include "core/numbers.h"
#include "data/tokens/batch_rebalance.h"

namespace sft {

namespace {

constexpr int64_t kStepsAhead = 3;
constexpr int kMostEmptyWindows = 1000;  // in a row

void append_document(MicroBatch& batch, const Example& row, size_t begin, size_t length) {
  for (size_t i = begin; i < begin + length; ++i) {
    const bool last = i + 1 == begin + length;
    batch.tokens.push_back(row.input_ids[i]);
    batch.positions.push_back(static_cast<int32_t>(i - begin));
    batch.targets.push_back(last ? kIgnored : row.labels[i + 1]);
  }
  batch.cu_seqlens.push_back(static_cast<int32_t>(batch.tokens.size()));
}

void append_row(MicroBatch& batch, const Example& row) {
  if (row.input_ids.empty()) {
    return;
  }
  if (row.documents.empty()) {
    append_document(batch, row, 0, row.input_ids.size());
    return;
  }
  size_t begin = 0;
  for (const int32_t length : row.documents) {
    append_document(batch, row, begin, static_cast<size_t>(length));
    begin += static_cast<size_t>(length);
  }
}

BatchPlan plan_of(const PreparedDataset& data, const LoaderOptions& options) {
  const int64_t step_rows = options.per_device_batch * options.world * options.accumulation;
  return {.rows = data.size() == kEndless ? options.max_steps * step_rows : data.size(),
          .per_device = options.per_device_batch,
          .world = options.world,
          .drop_last = options.drop_last,
          .rebalanced = options.sampling == Sampling::batch_rebalance && data.windows() == nullptr
                            ? options.accumulation
                            : 0};
}

int64_t bytes_of(const MicroBatch& batch) { return static_cast<int64_t>(batch.tokens.size()) * 12; }

int64_t rounded_up(int64_t n, int64_t unit) { return unit > 1 ? (n + unit - 1) / unit * unit : n; }

// What TRL's collator would make of the batch.
void lay_out(MicroBatch& batch, std::span<const Example> rows, const LoaderOptions& options) {
  if (options.padding_free) {
    batch.num_tokens = rounded_up(batch.num_tokens, options.pad_to_multiple_of);
    batch.laid_rows = 1;
    batch.laid_length = batch.num_tokens;
    return;
  }
  int64_t longest = 0;
  for (const Example& row : rows) {
    batch.laid_rows += row.input_ids.empty() ? 0 : 1;
    longest = std::max(longest, static_cast<int64_t>(row.input_ids.size()));
  }
  batch.laid_length = rounded_up(longest, options.pad_to_multiple_of);
}

MicroBatch join(std::span<const Example> rows, const LoaderOptions& options) {
  MicroBatch batch;
  batch.cu_seqlens.push_back(0);
  for (const Example& row : rows) {
    append_row(batch, row);
    batch.notes += row.notes;
  }
  batch.rows = static_cast<int64_t>(rows.size());
  batch.fresh_rows = batch.rows;
  batch.trained = std::ranges::count_if(batch.targets, [](int32_t t) { return t != kIgnored; });
  batch.num_tokens = static_cast<int64_t>(batch.tokens.size());
  lay_out(batch, rows, options);
  if (batch.tokens.empty()) {  // programs need a token; this one trains nothing
    append_row(batch, {.input_ids = {0}, .labels = {kIgnored}, .documents = {}});
  }
  return batch;
}

}  // namespace

MicroBatch make_batch(const PreparedDataset& data, const std::vector<int64_t>& order,
                      const std::vector<int64_t>& positions, const LoaderOptions& options) {
  const auto rows = static_cast<int64_t>(order.size());
  std::vector<Example> examples;
  std::vector<int64_t> numbers;
  for (const int64_t position : positions) {
    numbers.push_back(order[static_cast<size_t>(position % rows)]);
    examples.push_back(data.example(numbers.back()));
  }
  MicroBatch batch = join(examples, options);
  batch.row_numbers = std::move(numbers);
  batch.fresh_rows =
      std::ranges::count_if(positions, [&](int64_t position) { return position < rows; });
  return batch;
}

void Cursor::visit(StateTable& v) {
  v("epoch", &epoch);
  v("step_in_epoch", &step_in_epoch);
  v("window", &window);
  v("row", &row);
  v("first_row", &first_row);
  v("order_rows", &order_rows);
}

void RandomState::visit(StateTable& v) {
  v("now", &now);
  v("epoch", &epoch);
}

void LoaderState::visit(StateTable& v) {
  v("cursor", &cursor);
  v("rows_done", &rows_done);
  v("step_rows", &step_rows);
  v("random", &random);
}

TrainLoader::TrainLoader(const PreparedDataset& data, LoaderOptions options)
    : data_(data), options_(options), plan_(plan_of(data, options)), random_(options.run_seed) {
  SFT_ASSERT(options_.per_device_batch > 0 && options_.accumulation > 0 && options_.world > 0);
  if (plan_.batches() == 0) {
    throw Error("D063", fmt::format("{} rows do not fill one batch of {} on each of {} ranks",
                                    data.size(), options_.per_device_batch, options_.world))
        .hint(
            "use more data, a smaller --per_device_train_batch_size, or no --dataloader_drop_last");
  }
}

int64_t TrainLoader::steps_per_epoch() const { return steps_of(plan_); }

BatchPlan TrainLoader::plan_from(int64_t first_row) const {
  BatchPlan plan = plan_;
  plan.rows -= first_row;
  return plan;
}

int64_t TrainLoader::total_steps(double num_train_epochs, int64_t max_steps) const {
  if (max_steps > 0) {
    return max_steps;
  }
  return static_cast<int64_t>(std::ceil(num_train_epochs * static_cast<double>(steps_per_epoch())));
}

int64_t TrainLoader::rows_done() const {
  if (at_epoch_end()) {
    return plan_.rows;
  }
  return std::min(cursor_.first_row + cursor_.step_in_epoch * step_rows(), plan_.rows);
}

int64_t TrainLoader::steps_left(double num_train_epochs) const {
  const int64_t here = steps_of_epoch() - cursor_.step_in_epoch;
  const double after = num_train_epochs - static_cast<double>(cursor_.epoch + 1);
  if (after >= 0) {
    return here + static_cast<int64_t>(std::ceil(after * static_cast<double>(steps_per_epoch())));
  }
  const double rows = (after + 1) * static_cast<double>(plan_.rows) -
                      static_cast<double>(rows_done());  // the run ends inside this epoch
  const auto steps = static_cast<int64_t>(std::ceil(rows / static_cast<double>(step_rows())));
  return std::clamp<int64_t>(steps, 0, here);
}

double TrainLoader::epoch() const {
  if (cursor_.first_row > 0) {
    return static_cast<double>(cursor_.epoch) +
           static_cast<double>(rows_done()) / static_cast<double>(plan_.rows);
  }
  const int64_t done = std::min(cursor_.step_in_epoch * options_.accumulation, plan_.batches());
  return static_cast<double>(cursor_.epoch) +
         static_cast<double>(done) / static_cast<double>(plan_.batches());
}

void TrainLoader::seek(const Cursor& cursor) {
  const int64_t step_rows = std::max(
      product({options_.per_device_batch, options_.accumulation, options_.world}).value_or(0),
      cursor.order_rows);
  const auto batches = product({cursor.epoch + 1, plan_.batches() + options_.accumulation});
  const auto taken = product({cursor.epoch + 1, steps_per_epoch() + 1, step_rows});
  // Each window but empty ones, of which there are few in a row, gives a row that a step takes.
  const bool far =
      cursor.epoch > kMostCount || !batches || !taken || cursor.window / kMostEmptyWindows > *taken;
  if (far) {
    throw Error("D062", fmt::format("the loader's position is impossible: epoch {}, window {}",
                                    cursor.epoch, cursor.window))
        .hint("the checkpoint is damaged; resume from an earlier one");
  }
  constexpr int64_t kMostRows = int64_t{1} << 40;  // of a step
  const bool order =
      cursor.first_row == 0 || (cursor.order_rows > 0 && cursor.order_rows <= kMostRows);
  const bool rows = order && cursor.first_row >= 0 && cursor.first_row < plan_.rows;
  const int64_t steps = rows ? steps_of(plan_from(cursor.first_row)) : 0;
  if (!rows || cursor.epoch < 0 || cursor.step_in_epoch < 0 || cursor.step_in_epoch > steps) {
    throw Error("D068",
                fmt::format("step {} of epoch {} does not exist: an epoch has {} steps here",
                            cursor.step_in_epoch, cursor.epoch, steps))
        .hint("resume with the data, batch size, accumulation and ranks of the run that was saved");
  }
  cursor_ = cursor;
  // Within an epoch it has begun; at its beginning and at its end the next step begins one.
  const bool within = cursor.step_in_epoch > 0 || cursor.first_row > 0;
  begun_ = within ? cursor.epoch : cursor.epoch - 1;
}

void TrainLoader::begin_epoch() {
  begun_ = cursor_.epoch;
  if (cursor_.epoch == 0 || !options_.seeds_once) {
    random_.random64();  // torch's DataLoader draws a seed for its workers, also where it has none
  }
}

LoaderState TrainLoader::state(bool with_random) const {
  return {cursor_, rows_done(), step_rows(),
          with_random ? std::optional(random_state()) : std::nullopt};
}

void TrainLoader::restore_random(const RandomState& state) { random_.restore(state.now); }

bool TrainLoader::go_on(const Cursor& cursor, int64_t rows, int64_t step_rows_then) {
  const bool same_order = options_.sampling != Sampling::group_by_length ||
                          cursor.order_rows == step_rows() ||
                          (cursor.order_rows == 0 && step_rows_then == step_rows());
  if (same_order && cursor.first_row < plan_.rows &&
      cursor.step_in_epoch <= steps_of(plan_from(cursor.first_row))) {
    seek(cursor);
    if (rows_done() == rows) {
      return false;
    }
  }
  Cursor here = cursor;
  here.step_in_epoch = here.first_row = here.order_rows = 0;
  if (rows >= plan_.rows || plan_from(rows).batches() == 0) {
    ++here.epoch;  // what is left of this epoch is not a batch
  } else if (same_order && rows % step_rows() == 0) {
    here.step_in_epoch = rows / step_rows();
  } else {
    here.first_row = rows;
    here.order_rows = cursor.order_rows > 0 ? cursor.order_rows : step_rows_then;
  }
  seek(here);
  return true;
}

std::unique_ptr<TrainLoader> make_loader(const PreparedDataset& data,
                                         const LoaderOptions& options) {
  if (data.windows() != nullptr) {
    return std::make_unique<WindowLoader>(data, options);
  }
  return std::make_unique<Loader>(data, options);
}

Loader::EpochRows Loader::make_order(int64_t epoch) {
  if (options_.sampling != Sampling::batch_rebalance) {
    return {epoch_order(options_.sampling, data_, options_.seed, epoch)};
  }
  std::vector<int64_t> lengths;
  for (int64_t row = 0; row < data_.size(); ++row) {
    lengths.push_back(data_.length(row));
  }
  const Rebalance how{options_.per_device_batch * options_.world * options_.accumulation,
                      options_.world, options_.accumulation, options_.drop_last,
                      epoch == start_.epoch ? start_.first_row : 0};
  EpochRows out;
  for (const auto& batch : rebalanced_batches(lengths, how, epoch, options_.rank)) {
    out.begins.push_back(static_cast<int64_t>(out.rows.size()));
    out.rows.insert(out.rows.end(), batch.begin(), batch.end());
  }
  out.begins.push_back(static_cast<int64_t>(out.rows.size()));
  return out;
}

Loader::Order Loader::order_of(int64_t epoch) {
  const std::lock_guard lock(mutex_);
  if (is_drawn(options_.sampling)) {
    const auto found = orders_.find(epoch);
    return found == orders_.end() ? nullptr : found->second;
  }
  Order& order = orders_[epoch];
  if (order == nullptr) {
    order = std::make_shared<const EpochRows>(make_order(epoch));
  }
  Order out = order;
  orders_.erase(orders_.begin(), orders_.lower_bound(epoch - 1));
  return out;
}

// Batches that are made ahead end with the epoch: what comes after it is not known before.
void Loader::draw_order(int64_t epoch) {
  prefetcher_.reset();
  const bool cut_anew = epoch == start_.epoch && start_.first_row > 0;
  const std::lock_guard lock(mutex_);
  orders_.clear();
  orders_[epoch] = std::make_shared<const EpochRows>(EpochRows{
      drawn_order(options_.sampling, data_, cut_anew ? start_.order_rows : step_rows(), random_)});
}

void Loader::begin_epoch() {
  if (is_drawn(options_.sampling)) {
    epoch_random_ = random_.state();
  }
  TrainLoader::begin_epoch();
  if (is_drawn(options_.sampling)) {
    draw_order(cursor_.epoch);
  }
}

void Loader::restore_random(const RandomState& state) {
  if (is_drawn(options_.sampling) && begun_ == cursor_.epoch && !state.epoch.empty()) {
    random_.restore(state.epoch);
    begin_epoch();
  }
  TrainLoader::restore_random(state);
}

MicroBatch Loader::make(int64_t serial) {
  const BatchPlan first = plan_from(start_.first_row);
  const bool in_first = serial < first.batches();
  const int64_t later = serial - first.batches();
  const int64_t epoch = start_.epoch + (in_first ? 0 : 1 + later / plan_.batches());
  const Order order = order_of(epoch);
  if (order == nullptr) {
    return {};
  }
  const int64_t batch = in_first ? serial : later % plan_.batches();
  std::vector<int64_t> positions;
  if (order->begins.empty()) {
    positions = (in_first ? first : plan_).batch(batch, options_.rank);
    for (int64_t& position : positions) {
      position += in_first ? start_.first_row : 0;
    }
  } else {
    const int64_t begin = order->begins[static_cast<size_t>(batch)];
    positions.resize(static_cast<size_t>(order->begins[static_cast<size_t>(batch) + 1] - begin));
    std::iota(positions.begin(), positions.end(), begin);
  }
  return make_batch(data_, order->rows, positions, options_);
}

std::vector<MicroBatch> Loader::next() {
  if (at_epoch_end()) {
    cursor_ = {cursor_.epoch + 1, 0};
  }
  const bool undrawn = is_drawn(options_.sampling) && order_of(cursor_.epoch) == nullptr;
  if (begun_ != cursor_.epoch || undrawn) {  // undrawn: resumed without the generator's state
    begin_epoch();
  }
  const BatchPlan plan = plan_from(cursor_.first_row);
  const int64_t begin = cursor_.step_in_epoch * options_.accumulation;
  const int64_t end = std::min(begin + options_.accumulation, plan.batches());
  const int64_t epochs_after = cursor_.epoch - start_.epoch - 1;
  const int64_t first =
      epochs_after < 0 ? 0 : plan_from(start_.first_row).batches() + epochs_after * plan_.batches();
  if (options_.workers > 0 && prefetcher_ == nullptr) {
    prefetcher_ = std::make_unique<Prefetcher<MicroBatch>>(
        [this](int64_t serial) { return make(serial); }, bytes_of, first + begin,
        PrefetchLimits{.threads = options_.workers,
                       .things = kStepsAhead * options_.accumulation + options_.workers});
  }
  std::vector<MicroBatch> batches;
  for (int64_t b = begin; b < end; ++b) {
    batches.push_back(prefetcher_ != nullptr ? prefetcher_->take() : make(first + b));
  }
  ++cursor_.step_in_epoch;
  return batches;
}

void Loader::seek(const Cursor& cursor) {
  prefetcher_.reset();
  TrainLoader::seek(cursor);
  start_ = cursor;
  orders_.clear();
}

Example WindowLoader::next_row() {
  for (int empty = 0; empty < kMostEmptyWindows; ++empty) {
    if (!has_window_) {
      window_ = prefetcher_->take();
      has_window_ = true;
    }
    if (cursor_.row < static_cast<int64_t>(window_.size())) {
      return std::move(window_[static_cast<size_t>(cursor_.row++)]);
    }
    ++cursor_.window;
    cursor_.row = 0;
    has_window_ = false;
  }
  throw Error("D049",
              fmt::format("{} windows of rows in a row have nothing to train", kMostEmptyWindows))
      .hint("look at rows with `sft inspect`");
}

std::vector<MicroBatch> WindowLoader::next() {
  if (at_epoch_end()) {
    ++cursor_.epoch;
    cursor_.step_in_epoch = cursor_.first_row = cursor_.order_rows = 0;
  }
  if (begun_ != cursor_.epoch) {
    begin_epoch();
  }
  if (prefetcher_ == nullptr) {
    prefetcher_ = std::make_unique<Prefetcher<std::vector<Example>>>(
        [this](int64_t w) { return data_.windows()->window(w); },
        [](const std::vector<Example>&) { return 0; }, cursor_.window,
        PrefetchLimits{.threads = 1, .things = 2});
  }
  std::vector<MicroBatch> batches;
  for (int64_t b = 0; b < options_.accumulation; ++b) {
    std::vector<Example> own;
    for (int rank = 0; rank < options_.world; ++rank) {
      for (int64_t i = 0; i < options_.per_device_batch; ++i) {
        Example row = next_row();
        if (rank == options_.rank) {
          own.push_back(std::move(row));
        }
      }
    }
    batches.push_back(join(own, options_));
  }
  ++cursor_.step_in_epoch;
  return batches;
}

void WindowLoader::seek(const Cursor& cursor) {
  prefetcher_.reset();
  has_window_ = false;
  TrainLoader::seek(cursor);
}

EvalLoader::EvalLoader(const PreparedDataset& data, LoaderOptions options)
    : data_(data), options_(options), plan_(plan_of(data, options)) {
  if (plan_.batches() == 0) {
    throw Error("D063", fmt::format("{} evaluation rows do not fill one batch of {} on each of {} "
                                    "ranks",
                                    data.size(), options_.per_device_batch, options_.world))
        .hint(
            "use more data, a smaller --per_device_eval_batch_size, or no --dataloader_drop_last");
  }
  if (options.sampling == Sampling::group_by_length) {
    TorchGenerator generator(options.seed);  // anew for each evaluation, so that all are alike
    order_ = drawn_order(options.sampling, data, options.per_device_batch, generator);
  } else {
    order_ = epoch_order(Sampling::sequential, data, 0, 0);
  }
}

std::optional<MicroBatch> EvalLoader::next() {
  const int64_t index = next_;
  if (index >= plan_.batches()) {
    return std::nullopt;
  }
  ++next_;
  const auto make = [this](int64_t b) {
    // Beyond the end there is nothing to make ahead.
    return b < plan_.batches() ? make_batch(data_, order_, plan_.batch(b, options_.rank), options_)
                               : MicroBatch();
  };
  if (options_.workers == 0) {
    return make(index);
  }
  if (prefetcher_ == nullptr) {
    prefetcher_ = std::make_unique<Prefetcher<MicroBatch>>(
        make, bytes_of, index,
        PrefetchLimits{.threads = options_.workers, .things = kStepsAhead + options_.workers});
  }
  MicroBatch batch = prefetcher_->take();
  if (next_ == plan_.batches()) {
    prefetcher_.reset();
  }
  return batch;
}

void EvalLoader::rewind() {
  next_ = 0;
  prefetcher_.reset();
}

}  // namespace sft
