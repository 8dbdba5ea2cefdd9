#include "data/loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "core/error.h"

namespace sft {

namespace {

constexpr int64_t kStepsAhead = 3;

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
          .drop_last = options.drop_last};
}

int64_t bytes_of(const MicroBatch& batch) { return static_cast<int64_t>(batch.tokens.size()) * 12; }

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
  if (options.padding_free && options.pad_to_multiple_of > 1) {
    const int64_t unit = options.pad_to_multiple_of;
    batch.num_tokens = (batch.num_tokens + unit - 1) / unit * unit;
  }
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

Json to_json(const Cursor& cursor) {
  Json json = {{"epoch", cursor.epoch}, {"step_in_epoch", cursor.step_in_epoch}};
  if (cursor.window > 0 || cursor.row > 0) {
    json["window"] = cursor.window;
    json["row"] = cursor.row;
  }
  return json;
}

Cursor cursor_from_json(const Json& json) {
  const auto number = [&](const char* key) {
    if (!json.is_object() || !json.contains(key) || !json[key].is_number_integer() ||
        json[key].get<int64_t>() < 0) {
      throw Error("D062",
                  fmt::format("the loader's position has no valid \"{}\": {}", key, to_text(json)))
          .hint("the checkpoint is damaged; resume from an earlier one");
    }
    return json[key].get<int64_t>();
  };
  Cursor cursor{number("epoch"), number("step_in_epoch")};
  if (json.contains("window")) {
    cursor.window = number("window");
    cursor.row = number("row");
  }
  return cursor;
}

TrainLoader::TrainLoader(const PreparedDataset& data, LoaderOptions options)
    : data_(data), options_(options), plan_(plan_of(data, options)) {
  SFT_ASSERT(options_.per_device_batch > 0 && options_.accumulation > 0 && options_.world > 0);
  if (plan_.batches() == 0) {
    throw Error("D063", fmt::format("{} rows do not fill one batch of {} on each of {} ranks",
                                    data.size(), options_.per_device_batch, options_.world))
        .hint(
            "use more data, a smaller --per_device_train_batch_size, or no --dataloader_drop_last");
  }
}

int64_t TrainLoader::steps_per_epoch() const {
  return (plan_.batches() + options_.accumulation - 1) / options_.accumulation;
}

int64_t TrainLoader::total_steps(double num_train_epochs, int64_t max_steps) const {
  if (max_steps > 0) {
    return max_steps;
  }
  return static_cast<int64_t>(std::ceil(num_train_epochs * static_cast<double>(steps_per_epoch())));
}

double TrainLoader::epoch() const {
  const int64_t done = std::min(cursor_.step_in_epoch * options_.accumulation, plan_.batches());
  return static_cast<double>(cursor_.epoch) +
         static_cast<double>(done) / static_cast<double>(plan_.batches());
}

void TrainLoader::seek(const Cursor& cursor) {
  if (cursor.epoch < 0 || cursor.step_in_epoch < 0 || cursor.step_in_epoch > steps_per_epoch()) {
    throw Error("D062",
                fmt::format("step {} of epoch {} does not exist: an epoch has {} steps here",
                            cursor.step_in_epoch, cursor.epoch, steps_per_epoch()))
        .hint("resume with the data, batch size, accumulation and ranks of the run that was saved");
  }
  cursor_ = cursor;
}

std::unique_ptr<TrainLoader> make_loader(const PreparedDataset& data,
                                         const LoaderOptions& options) {
  if (data.windows() != nullptr) {
    return std::make_unique<WindowLoader>(data, options);
  }
  return std::make_unique<Loader>(data, options);
}

Loader::Order Loader::order_of(int64_t epoch) {
  const std::lock_guard lock(mutex_);
  Order& order = orders_[epoch];
  if (order == nullptr) {
    const int64_t step_rows = options_.per_device_batch * options_.world * options_.accumulation;
    order = std::make_shared<const std::vector<int64_t>>(
        epoch_order(options_.sampling, data_, options_.seed, epoch, step_rows));
  }
  Order out = order;
  orders_.erase(orders_.begin(), orders_.lower_bound(epoch - 1));
  return out;
}

MicroBatch Loader::make(int64_t serial) {
  const int64_t epoch = serial / plan_.batches();
  const Order order = order_of(epoch);
  return make_batch(data_, *order, plan_.batch(serial % plan_.batches(), options_.rank), options_);
}

std::vector<MicroBatch> Loader::next() {
  if (cursor_.step_in_epoch == steps_per_epoch()) {
    cursor_ = {cursor_.epoch + 1, 0};
  }
  const int64_t begin = cursor_.step_in_epoch * options_.accumulation;
  const int64_t end = std::min(begin + options_.accumulation, plan_.batches());
  const int64_t first = cursor_.epoch * plan_.batches();
  if (options_.workers > 0 && ahead_ == nullptr) {
    ahead_ = std::make_unique<Ahead<MicroBatch>>(
        [this](int64_t serial) { return make(serial); }, bytes_of, first + begin,
        AheadLimits{.threads = options_.workers,
                    .things = kStepsAhead * options_.accumulation + options_.workers});
  }
  std::vector<MicroBatch> batches;
  for (int64_t b = begin; b < end; ++b) {
    batches.push_back(ahead_ != nullptr ? ahead_->take() : make(first + b));
  }
  ++cursor_.step_in_epoch;
  return batches;
}

void Loader::seek(const Cursor& cursor) {
  ahead_.reset();
  TrainLoader::seek(cursor);
}

Example WindowLoader::next_row() {
  constexpr int kMostEmpty = 1000;
  for (int empty = 0; empty < kMostEmpty; ++empty) {
    if (!has_window_) {
      window_ = ahead_->take();
      has_window_ = true;
    }
    if (cursor_.row < static_cast<int64_t>(window_.size())) {
      return std::move(window_[static_cast<size_t>(cursor_.row++)]);
    }
    ++cursor_.window;
    cursor_.row = 0;
    has_window_ = false;
  }
  throw Error("D049", fmt::format("{} windows of rows in a row have nothing to train", kMostEmpty))
      .hint("look at rows with `sft inspect`");
}

std::vector<MicroBatch> WindowLoader::next() {
  if (cursor_.step_in_epoch == steps_per_epoch()) {
    ++cursor_.epoch;
    cursor_.step_in_epoch = 0;
  }
  if (ahead_ == nullptr) {
    ahead_ = std::make_unique<Ahead<std::vector<Example>>>(
        [this](int64_t w) { return data_.windows()->window(w); },
        [](const std::vector<Example>&) { return 0; }, cursor_.window,
        AheadLimits{.threads = 1, .things = 2});
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
  ahead_.reset();
  has_window_ = false;
  TrainLoader::seek(cursor);
}

EvalLoader::EvalLoader(const PreparedDataset& data, LoaderOptions options)
    : data_(data),
      options_(options),
      plan_(plan_of(data, options)),
      order_(epoch_order(Sampling::sequential, data, 0, 0, 1)) {}

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
  if (ahead_ == nullptr) {
    ahead_ = std::make_unique<Ahead<MicroBatch>>(
        make, bytes_of, index,
        AheadLimits{.threads = options_.workers, .things = kStepsAhead + options_.workers});
  }
  MicroBatch batch = ahead_->take();
  if (next_ == plan_.batches()) {
    ahead_.reset();
  }
  return batch;
}

void EvalLoader::rewind() {
  next_ = 0;
  ahead_.reset();
}

}  // namespace sft
