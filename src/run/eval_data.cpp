#include "run/eval_data.h"

#include <algorithm>
#include <cmath>

#include "train/loader_options.h"
#include "train/memory_plan.h"

namespace sft {

DataEvaluation evaluate_data(OpenRun& run, const std::function<void(int64_t, int64_t)>& on_batch) {
  const TrainOptions& o = run.options();
  const PreparedDataset& data = run.train();
  check_lengths(data, run.shape().config);
  EvalLoader loader(data, eval_loader_options(o, 0, 1));
  Arena arena(run.device());
  BatchRunner runner(
      run.device(), arena, run.weights(), {},
      BatchRunnerOptions{.loss = token_loss(o),
                         .most_tokens = longest_batch(data, o.per_device_eval_batch_size),
                         .training = false});
  const auto alone = local_communicator();
  const auto found = evaluate(
      runner, loader, *alone, nullptr,
      [&](int64_t done) {
        if (on_batch) {
          on_batch(done, loader.batches());
        }
      },
      [] { return false; });
  DataEvaluation out;
  out.as_trained = *found;
  const double tokens = std::max(found->tokens, 1.0);
  out.loss = found->token_loss / tokens;
  out.perplexity = std::exp(out.loss);
  out.accuracy = found->correct / tokens;
  out.tokens = static_cast<int64_t>(found->tokens);
  return out;
}

}  // namespace sft
