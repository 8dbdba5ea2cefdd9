#include "state/offloaded_update.h"

#include <algorithm>

namespace sft {

namespace {

std::byte* beyond(void* data, int64_t elements, DType type) {
  return static_cast<std::byte*>(data) + elements * static_cast<int64_t>(size_of(type));
}

}  // namespace

OffloadedUpdate::OffloadedUpdate(Device& device, DType copy_type, bool copy_on_host)
    : device_(device), copy_type_(copy_type), copy_on_host_(copy_on_host) {
  for (size_t i = 0; i < 2; ++i) {
    gradients_[i] = device.allocate_host(static_cast<size_t>(kPiece) * sizeof(float));
    if (!copy_on_host) {
      copies_[i] = device.allocate_host(static_cast<size_t>(kPiece) * size_of(copy_type));
    }
  }
}

int64_t OffloadedUpdate::staging_bytes(DType copy_type) {
  return 2 * kPiece * static_cast<int64_t>(sizeof(float) + size_of(copy_type));
}

int OffloadedUpdate::move(void* to, const void* from, int64_t elements, DType type) {
  device_.begin_aside(Lane::copies);
  device_.copy(to, from, static_cast<size_t>(elements) * size_of(type));
  return device_.end_aside();
}

void OffloadedUpdate::run(Optimizer& optimizer, OptimizerStep step) {
  const ElementRange all = step.range.value_or(optimizer.range());
  const int64_t pieces = (all.size() + kPiece - 1) / kPiece;
  const auto piece = [&](int64_t i) {
    return ElementRange{all.begin + i * kPiece, std::min(all.begin + (i + 1) * kPiece, all.end)};
  };
  std::array<int, 2> fetched{};
  const auto fetch = [&](int64_t i) {
    const auto k = static_cast<size_t>(i % 2);
    fetched[k] = move(gradients_[k].data(), step.gradients + (piece(i).begin - all.begin),
                      piece(i).size(), DType::f32);
  };
  for (int64_t i = 0; i < pieces; ++i) {
    const auto k = static_cast<size_t>(i % 2);
    if (i == 0) {
      fetch(0);
    }
    if (i + 1 < pieces) {
      fetch(i + 1);
    }
    device_.await(fetched[k]);
    if (sent_[k]) {
      device_.await(*sent_[k]);
    }
    const int64_t at = piece(i).begin - all.begin;
    OptimizerStep part = step;
    part.range = piece(i);
    part.weights = beyond(step.weights, at, step.weight_type);
    part.gradients = gradients_[k].f32();
    std::byte* const copy = beyond(step.copy, at, copy_type_);
    part.copy = copy_on_host_ ? copy : copies_[k].data();
    optimizer.step(part);
    if (copy_on_host_) {
      continue;
    }
    sent_[k] = move(copy, copies_[k].data(), piece(i).size(), copy_type_);
  }
}

void OffloadedUpdate::finish() {
  for (std::optional<int>& ticket : sent_) {
    if (ticket) {
      device_.await(*ticket);
      ticket.reset();
    }
  }
}

}  // namespace sft
