// One pass over the evaluation data.
#pragma once

#include <functional>
#include <optional>

#include "comm/communicator.h"
#include "data/tokens/loader.h"
#include "train/batch_runner.h"

namespace sft {

struct Evaluation {
  double loss = 0;  // as transformers has it: batch means, weighted by the batches' rows
  double entropy = 0, accuracy = 0;                // means of batch means, as TRL has them
  double token_loss = 0, correct = 0, tokens = 0;  // sums over trained tokens
  std::optional<double> balance;                   // the routers' auxiliary loss, likewise
  int64_t rows = 0, batches = 0;
  double seconds = 0;
};

// `balance_coefficient`: of the routers' auxiliary loss in the loss; none where the model has none.
// `watcher`: see Bindings. `on_batch(done)` is called after each batch. Nothing on all ranks when
// `stopped` has become true on one of them.
std::optional<Evaluation> evaluate(BatchRunner& runner, EvalLoader& loader, Communicator& comm,
                                   BlockWatcher* watcher,
                                   const std::function<void(int64_t done)>& on_batch,
                                   const std::function<bool()>& stopped,
                                   std::optional<double> balance_coefficient = {});

}  // namespace sft
