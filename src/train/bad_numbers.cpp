#include "train/bad_numbers.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "train/batch_runner.h"

namespace sft {

namespace {

constexpr int64_t kPiece = int64_t{1} << 20;  // elements looked at together

double element(const std::byte* data, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::f32:
      return reinterpret_cast<const float*>(data)[i];
    case DType::bf16:
      return to_float(reinterpret_cast<const BFloat16*>(data)[i]);
    case DType::f16:
      return to_float(reinterpret_cast<const Float16*>(data)[i]);
    default:
      return 0;
  }
}

}  // namespace

std::string name_rows(std::span<const int64_t> rows, int64_t count, const PreparedDataset& data) {
  if (rows.empty()) {
    return fmt::format("{} rows of a window", count);
  }
  std::vector<std::string> places;
  for (const int64_t row : rows.first(std::min(rows.size(), kNamedRows))) {
    const std::string place = data.place(row);
    places.push_back(place.empty() ? fmt::format("row {}", row) : place);
  }
  const int64_t more = count - static_cast<int64_t>(places.size());
  if (more > 0) {
    places.push_back(fmt::format("and {} more", more));
  }
  return fmt::format("{}", fmt::join(places, ", "));
}

std::string name_rows(const MicroBatch& batch, const PreparedDataset& data) {
  const std::vector<int64_t>& rows = batch.row_numbers;
  return name_rows(rows, rows.empty() ? batch.rows : static_cast<int64_t>(rows.size()), data);
}

std::optional<NotFinite> find_not_finite(Device& device, const Tensor& tensor) {
  if (!is_floating(tensor.dtype) || tensor.data == nullptr) {
    return std::nullopt;
  }
  const auto width = static_cast<int64_t>(size_of(tensor.dtype));
  std::vector<std::byte> piece;
  for (int64_t begin = 0; begin < tensor.shape.elements(); begin += kPiece) {
    const int64_t n = std::min(kPiece, tensor.shape.elements() - begin);
    piece.resize(static_cast<size_t>(n * width));
    device.download(piece.data(), tensor.as<std::byte>() + begin * width, piece.size());
    for (int64_t i = 0; i < n; ++i) {
      const double value = element(piece.data(), tensor.dtype, i);
      if (std::isnan(value) || (std::isinf(value) && value > 0)) {
        return NotFinite{begin + i, value};
      }
    }
  }
  return std::nullopt;
}

std::string diagnose_step(BatchRunner& runner, const LoadedModel& model, Device& device,
                          std::span<const MicroBatch> batches, float loss_scale,
                          const PreparedDataset& data, BlockWatcher* watcher) {
  std::string first;
  const auto done = [&] { return !first.empty() && watcher == nullptr; };
  for (const HeldPart& part : model.held_parts()) {
    const auto bad = find_not_finite(model.optimizer_device(device),
                                     {part.data, Shape{part.end - part.begin}, part.dtype});
    if (bad) {
      first = fmt::format("the weight {} is {} at {} already", part.name, bad->value,
                          part.begin + bad->at);
      break;
    }
  }
  for (size_t i = 0; i < batches.size() && !done(); ++i) {
    const std::string found = runner.first_not_finite(batches[i], loss_scale, watcher);
    if (!found.empty() && first.empty()) {
      first = fmt::format("first, {}, in micro-batch {} of {}: {}", found, i + 1, batches.size(),
                          name_rows(batches[i], data));
    }
  }
  return !first.empty()
             ? first
             : "every number that this rank computed is finite; their sum is not, or another "
               "rank's";
}

}  // namespace sft
