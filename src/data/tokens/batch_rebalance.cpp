#include "data/tokens/batch_rebalance.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>
#include <span>

#include "core/error.h"
#include "core/torch_random.h"

namespace sft {

namespace {

// transformers seeds this order with 42 and the epoch, whatever --seed says.
constexpr uint64_t kSeed = 42;
constexpr double kQuadratic = 0.001;

double cost_of(int64_t rows, int64_t longest) {
  const auto n = static_cast<double>(rows);
  const auto length = static_cast<double>(longest);
  return n * length + kQuadratic * n * length * length;
}

// One step's rows, longest first, cut into neighbouring groups: their sizes are what is looked for.
class Balancer {
 public:
  Balancer(std::span<const int64_t> lengths, const Rebalance& options)
      : lengths_(lengths),
        world_(static_cast<size_t>(options.world)),
        step_rows_(options.step_rows) {
    const auto groups = static_cast<int64_t>(world_) * options.accumulation;
    const auto n = static_cast<int64_t>(lengths.size());
    SFT_ASSERT(n >= groups);
    for (int64_t g = 0; g < groups; ++g) {
      counts_.push_back(n / groups + (g < n % groups ? 1 : 0));
    }
    frozen_.assign(counts_.size(), false);
  }

  // The sizes of the groups whose costs differ least of all that were tried: one row at a time goes
  // from the costliest group to the cheapest.
  std::vector<int64_t> balance() {
    std::vector<int64_t> best = counts_;
    double best_spread = std::numeric_limits<double>::infinity();
    std::set<std::vector<int64_t>> seen;
    const auto tries = std::max<int64_t>(static_cast<int64_t>(counts_.size()) * 30, step_rows_);
    for (int64_t i = 0; i < tries && seen.insert(counts_).second; ++i) {
      const std::vector<double> costs = costs_of(counts_);
      const std::vector<size_t> active = active_groups();
      if (active.size() <= 1) {
        break;
      }
      const auto by_cost = [&](size_t a, size_t b) { return costs[a] < costs[b]; };
      const size_t high = *std::ranges::max_element(active, by_cost);
      const size_t low = *std::ranges::min_element(active, by_cost);
      if (const double spread = costs[high] - costs[low]; spread < best_spread) {
        best_spread = spread;
        best = counts_;
      }
      if (costs[high] == costs[low]) {
        break;
      }
      if (counts_[high] > 1) {
        --counts_[high];
        ++counts_[low];
      } else {
        freeze_slot(costs, high);
      }
    }
    return best;
  }

  std::vector<double> costs_of(const std::vector<int64_t>& counts) const {
    std::vector<double> costs;
    size_t begin = 0;
    for (const int64_t count : counts) {
      costs.push_back(count == 0 ? 0.0 : cost_of(count, lengths_[begin]));
      begin += static_cast<size_t>(count);
    }
    return costs;
  }

 private:
  std::vector<size_t> active_groups() const {
    std::vector<size_t> out;
    for (size_t g = 0; g < counts_.size(); ++g) {
      if (!frozen_[g]) {
        out.push_back(g);
      }
    }
    return out;
  }

  // A group of one row gets no cheaper: the groups that would run beside it take rows of others up
  // to its cost, and then all of them stay as they are.
  void freeze_slot(const std::vector<double>& costs, size_t pivot) {
    std::vector<size_t> ranking(costs.size());
    std::iota(ranking.begin(), ranking.end(), size_t{0});
    std::ranges::stable_sort(ranking, [&](size_t a, size_t b) { return costs[a] > costs[b]; });
    const auto place = static_cast<size_t>(std::ranges::find(ranking, pivot) - ranking.begin());
    const size_t first = place / world_ * world_;
    std::vector<size_t> members(ranking.begin() + static_cast<long>(first),
                                ranking.begin() + static_cast<long>(first + world_));
    std::ranges::sort(members);
    for (const size_t group : members) {
      if (!frozen_[group] && group != pivot) {
        fill(group, members, costs[pivot]);
      }
    }
    for (const size_t group : members) {
      frozen_[group] = true;
    }
  }

  void fill(size_t group, const std::vector<size_t>& members, double most) {
    while (true) {
      const std::vector<double> costs = costs_of(counts_);
      const auto begin = static_cast<size_t>(
          std::accumulate(counts_.begin(), counts_.begin() + static_cast<long>(group), int64_t{0}));
      if (cost_of(counts_[group] + 1, lengths_[begin]) > most) {
        return;
      }
      size_t donor = counts_.size();
      for (size_t g = 0; g < counts_.size(); ++g) {
        const bool gives = !frozen_[g] && counts_[g] > 1 && !std::ranges::binary_search(members, g);
        if (gives && (donor == counts_.size() || costs[g] < costs[donor])) {
          donor = g;
        }
      }
      if (donor == counts_.size()) {
        return;
      }
      ++counts_[group];
      --counts_[donor];
    }
  }

  std::span<const int64_t> lengths_;
  size_t world_;
  int64_t step_rows_;
  std::vector<int64_t> counts_;
  std::vector<bool> frozen_;
};

// The rows of a rank's micro-batches in one step.
std::vector<std::vector<int64_t>> step_batches(std::vector<int64_t> rows,
                                               const std::vector<int64_t>& all_lengths,
                                               const Rebalance& options, int rank) {
  const auto length = [&](int64_t row) { return all_lengths[static_cast<size_t>(row)]; };
  std::ranges::stable_sort(rows, std::ranges::greater{}, length);
  std::vector<int64_t> lengths;
  std::ranges::transform(rows, std::back_inserter(lengths), length);
  Balancer balancer(lengths, options);
  const std::vector<int64_t> counts = balancer.balance();
  const std::vector<double> costs = balancer.costs_of(counts);
  std::vector<size_t> ranking(counts.size());
  std::iota(ranking.begin(), ranking.end(), size_t{0});
  std::ranges::stable_sort(ranking, [&](size_t a, size_t b) { return costs[a] > costs[b]; });
  std::vector<std::vector<int64_t>> out;
  for (int64_t slot = 0; slot < options.accumulation; ++slot) {
    const size_t group = ranking[static_cast<size_t>(slot * options.world + rank)];
    const auto begin =
        rows.begin() +
        std::accumulate(counts.begin(), counts.begin() + static_cast<long>(group), 0L);
    out.emplace_back(begin, begin + counts[group]);
  }
  return out;
}

}  // namespace

std::vector<std::vector<int64_t>> rebalanced_batches(const std::vector<int64_t>& lengths,
                                                     const Rebalance& options, int64_t epoch,
                                                     int rank) {
  TorchGenerator generator(kSeed + static_cast<uint64_t>(epoch));
  const auto n = static_cast<int64_t>(lengths.size());
  const std::vector<int64_t> order = torch_randperm(n, generator);
  const int64_t groups = options.world * options.accumulation;
  std::vector<std::vector<int64_t>> out;
  for (int64_t begin = options.first_row; begin < n; begin += options.step_rows) {
    const int64_t end = std::min(begin + options.step_rows, n);
    if (options.drop_last && end - begin < options.step_rows) {
      break;
    }
    std::vector<int64_t> rows(order.begin() + begin, order.begin() + end);
    for (int64_t i = 0; static_cast<int64_t>(rows.size()) < groups; ++i) {
      rows.push_back(order[static_cast<size_t>(i % n)]);
    }
    for (auto& batch : step_batches(std::move(rows), lengths, options, rank)) {
      out.push_back(std::move(batch));
    }
  }
  return out;
}

}  // namespace sft
