#include "run/likelihood.h"

#include <algorithm>
#include <numeric>

namespace sft {

namespace {

// Predicts each token of the continuation from what comes before it; the last is not read.
MicroBatch batch_of(const Continued& pair, int64_t most, int64_t& cut) {
  std::vector<int32_t> all = pair.context;
  all.insert(all.end(), pair.continuation.begin(), pair.continuation.end());
  const auto size = static_cast<int64_t>(all.size());
  if (size > most + 1) {
    all.erase(all.begin(), all.end() - (most + 1));
    ++cut;
  }
  MicroBatch batch;
  batch.tokens.assign(all.begin(), all.end() - 1);
  batch.targets.assign(all.begin() + 1, all.end());
  const auto scored = std::min(pair.continuation.size(), batch.targets.size());
  std::fill(batch.targets.begin(), batch.targets.end() - static_cast<long>(scored), kIgnored);
  batch.positions.resize(batch.tokens.size());
  std::iota(batch.positions.begin(), batch.positions.end(), 0);
  batch.cu_seqlens = {0, static_cast<int32_t>(batch.tokens.size())};
  batch.trained = static_cast<int64_t>(scored);
  return batch;
}

}  // namespace

LikelihoodRunner::LikelihoodRunner(OpenRun& run, int64_t longest)
    : device_(run.device()),
      most_(run.shape().config.max_positions),
      arena_(device_),
      runner_(device_, arena_, run.weights(), {},
              BatchRunnerOptions{.most_tokens = std::min(longest, most_), .training = false}) {}

std::vector<Likelihood> LikelihoodRunner::of(std::span<const Continued> pairs) {
  constexpr size_t kCollected = 256;
  std::vector<Likelihood> out(pairs.size());
  std::vector<size_t> under_way;
  const auto collect = [&] {
    const std::vector<BatchStats> stats = runner_.collect();
    for (size_t i = 0; i < stats.size(); ++i) {
      out[under_way[i]] = {-static_cast<double>(stats[i].loss),
                           stats[i].correct == stats[i].tokens};
    }
    under_way.clear();
  };
  for (size_t i = 0; i < pairs.size(); ++i) {
    if (pairs[i].continuation.empty()) {
      continue;  // certain
    }
    runner_.run(batch_of(pairs[i], most_, cut_), 1.0F, true);
    under_way.push_back(i);
    if (under_way.size() == kCollected) {
      collect();
    }
  }
  collect();
  return out;
}

}  // namespace sft
