#include "train/evaluate.h"

#include <array>
#include <chrono>

#include "train/interval.h"

namespace sft {

std::optional<Evaluation> evaluate(BatchRunner& runner, EvalLoader& loader, Communicator& comm,
                                   BlockWatcher* watcher,
                                   const std::function<void(int64_t)>& on_batch,
                                   const std::function<bool()>& stopped,
                                   std::optional<double> balance_coefficient) {
  const auto start = std::chrono::steady_clock::now();
  Evaluation result;
  Interval interval;
  double weighted_loss = 0;
  loader.rewind();
  while (const auto batch = loader.next()) {
    runner.run(*batch, 1.0F, true, watcher);
    const BatchStats own = runner.collect()[0];
    const auto rows = static_cast<double>(batch->fresh_rows);
    const auto balance = static_cast<double>(own.balance);
    const double own_loss = (own.tokens > 0 ? static_cast<double>(own.loss) / own.tokens : 0.0) +
                            balance_coefficient.value_or(0.0) * balance;
    std::array<double, 8> sums{own.correct, own.entropy,           own.tokens, own_loss * rows,
                               rows,        stopped() ? 1.0 : 0.0, own.loss,   balance};
    comm.all_reduce(std::span<double>(sums));
    if (sums[5] > 0) {
      return std::nullopt;
    }
    interval.add_batch(sums[0], sums[1], sums[2], sums[7] / comm.size());
    weighted_loss += sums[3];
    result.correct += sums[0];
    result.tokens += sums[2];
    result.token_loss += sums[6];
    result.rows += static_cast<int64_t>(sums[4]);
    on_batch(++result.batches);
  }
  result.loss = weighted_loss / static_cast<double>(result.rows);
  result.entropy = interval.mean_entropy();
  result.accuracy = interval.mean_accuracy();
  if (balance_coefficient) {
    result.balance = interval.mean_balance();
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace sft
