#include "data/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "data/torch_random.h"

namespace sft {

namespace {

// transformers' LengthGroupedSampler, with the epoch's own generator.
std::vector<int64_t> group_by_length(const PreparedDataset& data, std::vector<int64_t> order,
                                     int64_t batch) {
  const int64_t n = data.size();
  const int64_t batches_a_group = std::clamp<int64_t>(n / (batch * 4), 1, 50);
  const auto group = static_cast<size_t>(batches_a_group * batch);
  size_t longest = 0;
  for (size_t begin = 0; begin < order.size(); begin += group) {
    const size_t end = std::min(begin + group, order.size());
    const auto length = [&](int64_t row) { return data.length(row); };
    std::ranges::stable_sort(order.begin() + static_cast<long>(begin),
                             order.begin() + static_cast<long>(end), std::ranges::greater{},
                             length);
    if (length(order[begin]) > length(order[longest])) {
      longest = begin;
    }
  }
  // The longest row goes first, so that running out of memory shows in the first step.
  if (!order.empty()) {
    std::swap(order[0], order[longest]);
  }
  return order;
}

}  // namespace

Sampling parse_sampling(std::string_view name) {
  if (name == "random") {
    return Sampling::random;
  }
  if (name == "sequential") {
    return Sampling::sequential;
  }
  if (name == "group_by_length") {
    return Sampling::group_by_length;
  }
  throw Error("D061", fmt::format("there is no train_sampling_strategy \"{}\"", name))
      .hint("use random, sequential or group_by_length");
}

std::vector<int64_t> epoch_order(Sampling sampling, const PreparedDataset& data, uint64_t seed,
                                 int64_t epoch, int64_t batch) {
  if (sampling == Sampling::sequential) {
    std::vector<int64_t> order(static_cast<size_t>(data.size()));
    std::iota(order.begin(), order.end(), 0);
    return order;
  }
  TorchGenerator generator(seed + static_cast<uint64_t>(epoch));
  std::vector<int64_t> order = torch_randperm(data.size(), generator);
  return sampling == Sampling::random ? order : group_by_length(data, std::move(order), batch);
}

int64_t BatchPlan::batches() const {
  const int64_t all = drop_last ? rows / per_device : (rows + per_device - 1) / per_device;
  return drop_last ? all / world : (all + world - 1) / world;
}

std::vector<int64_t> BatchPlan::batch(int64_t index, int rank) const {
  const int64_t begin = (index * world + rank) * per_device;
  const int64_t end = world == 1 ? std::min(begin + per_device, rows) : begin + per_device;
  std::vector<int64_t> positions(static_cast<size_t>(end - begin));
  std::iota(positions.begin(), positions.end(), begin);
  return positions;
}

}  // namespace sft
