#include "data/loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"

namespace sft {

namespace {

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
  return {.rows = data.size(),
          .per_device = options.per_device_batch,
          .world = options.world,
          .drop_last = options.drop_last};
}

}  // namespace

MicroBatch make_batch(const PreparedDataset& data, const std::vector<int64_t>& order,
                      const std::vector<int64_t>& positions, const LoaderOptions& options) {
  MicroBatch batch;
  batch.cu_seqlens.push_back(0);
  const auto rows = static_cast<int64_t>(order.size());
  for (const int64_t position : positions) {
    append_row(batch, data.example(order[static_cast<size_t>(position % rows)]));
    batch.fresh_rows += position < rows ? 1 : 0;
  }
  batch.rows = static_cast<int64_t>(positions.size());
  batch.trained = std::ranges::count_if(batch.targets, [](int32_t t) { return t != kIgnored; });
  batch.num_tokens = static_cast<int64_t>(batch.tokens.size());
  if (options.padding_free && options.pad_to_multiple_of > 1) {
    const int64_t unit = options.pad_to_multiple_of;
    batch.num_tokens = (batch.num_tokens + unit - 1) / unit * unit;
  }
  return batch;
}

Json to_json(const Cursor& cursor) {
  return {{"epoch", cursor.epoch}, {"step_in_epoch", cursor.step_in_epoch}};
}

Cursor cursor_from_json(const Json& json) {
  const auto number = [&](const char* key) {
    if (!json.is_object() || !json.contains(key) || !json[key].is_number_integer() ||
        json[key].get<int64_t>() < 0) {
      throw Error("D062",
                  fmt::format("the loader's position has no valid \"{}\": {}", key, json.dump()))
          .hint("the checkpoint is damaged; resume from an earlier one");
    }
    return json[key].get<int64_t>();
  };
  return {number("epoch"), number("step_in_epoch")};
}

Loader::Loader(const PreparedDataset& data, LoaderOptions options)
    : data_(data), options_(options), plan_(plan_of(data, options)) {
  SFT_ASSERT(options_.per_device_batch > 0 && options_.accumulation > 0 && options_.world > 0);
  if (plan_.batches() == 0) {
    throw Error("D063", fmt::format("{} rows do not fill one batch of {} on each of {} ranks",
                                    data.size(), options_.per_device_batch, options_.world))
        .hint(
            "use more data, a smaller --per_device_train_batch_size, or no --dataloader_drop_last");
  }
}

int64_t Loader::steps_per_epoch() const {
  return (plan_.batches() + options_.accumulation - 1) / options_.accumulation;
}

int64_t Loader::total_steps(double num_train_epochs, int64_t max_steps) const {
  if (max_steps > 0) {
    return max_steps;
  }
  return static_cast<int64_t>(std::ceil(num_train_epochs * static_cast<double>(steps_per_epoch())));
}

std::vector<MicroBatch> Loader::next() {
  if (cursor_.step_in_epoch == steps_per_epoch()) {
    cursor_ = {cursor_.epoch + 1, 0};
  }
  if (order_epoch_ != cursor_.epoch) {
    const int64_t step_rows = options_.per_device_batch * options_.world * options_.accumulation;
    order_ = epoch_order(options_.sampling, data_, options_.seed, cursor_.epoch, step_rows);
    order_epoch_ = cursor_.epoch;
  }
  const int64_t begin = cursor_.step_in_epoch * options_.accumulation;
  const int64_t end = std::min(begin + options_.accumulation, plan_.batches());
  std::vector<MicroBatch> batches;
  for (int64_t b = begin; b < end; ++b) {
    batches.push_back(make_batch(data_, order_, plan_.batch(b, options_.rank), options_));
  }
  ++cursor_.step_in_epoch;
  return batches;
}

double Loader::epoch() const {
  const int64_t done = std::min(cursor_.step_in_epoch * options_.accumulation, plan_.batches());
  return static_cast<double>(cursor_.epoch) +
         static_cast<double>(done) / static_cast<double>(plan_.batches());
}

void Loader::seek(const Cursor& cursor) {
  if (cursor.epoch < 0 || cursor.step_in_epoch < 0 || cursor.step_in_epoch > steps_per_epoch()) {
    throw Error("D062",
                fmt::format("step {} of epoch {} does not exist: an epoch has {} steps here",
                            cursor.step_in_epoch, cursor.epoch, steps_per_epoch()))
        .hint("resume with the data, batch size, accumulation and ranks of the run that was saved");
  }
  cursor_ = cursor;
}

EvalLoader::EvalLoader(const PreparedDataset& data, LoaderOptions options)
    : data_(data),
      options_(options),
      plan_(plan_of(data, options)),
      order_(epoch_order(Sampling::sequential, data, 0, 0, 1)) {}

std::optional<MicroBatch> EvalLoader::next() {
  if (next_ >= plan_.batches()) {
    return std::nullopt;
  }
  return make_batch(data_, order_, plan_.batch(next_++, options_.rank), options_);
}

}  // namespace sft
