#include "data/tokens/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "core/error.h"

namespace sft {

namespace {

// transformers' LengthGroupedSampler over `order`, a random one.
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

struct SamplingName {
  const char* name;
  Sampling sampling;
};
constexpr SamplingName kSamplings[] = {
    {"random", Sampling::random},
    {"sequential", Sampling::sequential},
    {"group_by_length", Sampling::group_by_length},
    {"batch_rebalance", Sampling::batch_rebalance},
};

}  // namespace

Sampling parse_sampling(std::string_view name) {
  for (const SamplingName& known : kSamplings) {
    if (name == known.name) {
      return known.sampling;
    }
  }
  throw Error("D061", fmt::format("there is no train_sampling_strategy \"{}\"", name))
      .hint("use random, sequential, group_by_length or batch_rebalance");
}

bool is_drawn(Sampling sampling) {
  return sampling == Sampling::group_by_length || sampling == Sampling::unseeded;
}

std::vector<int64_t> epoch_order(Sampling sampling, const PreparedDataset& data, uint64_t seed,
                                 int64_t epoch) {
  SFT_ASSERT(!is_drawn(sampling));
  if (sampling == Sampling::sequential) {
    std::vector<int64_t> order(static_cast<size_t>(data.size()));
    std::iota(order.begin(), order.end(), 0);
    return order;
  }
  TorchGenerator generator(seed + static_cast<uint64_t>(epoch));
  return torch_randperm(data.size(), generator);
}

std::vector<int64_t> drawn_order(Sampling sampling, const PreparedDataset& data, int64_t batch,
                                 TorchGenerator& generator) {
  SFT_ASSERT(is_drawn(sampling));
  if (sampling == Sampling::unseeded) {
    TorchGenerator own(generator.random64());
    return torch_randperm(data.size(), own);
  }
  return group_by_length(data, torch_randperm(data.size(), generator), batch);
}

int64_t BatchPlan::batches() const {
  if (rebalanced > 0) {
    const int64_t step = per_device * world * rebalanced;
    return (drop_last ? rows / step : (rows + step - 1) / step) * rebalanced;
  }
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
