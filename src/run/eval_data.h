// The loss of a model on a data set, with the labels that training would have. Used by `sft eval`.
#pragma once

#include "run/open_run.h"
#include "train/evaluate.h"

namespace sft {

struct DataEvaluation {
  Evaluation as_trained;  // as an evaluation during training has it
  double loss = 0;        // of a trained token: sum over all tokens, divided by their number
  double perplexity = 0;  // e to that
  double accuracy = 0;    // share of trained tokens that are the likeliest ones
  int64_t tokens = 0;     // trained
};

// Of the run's training part, in its order. `on_batch(done, batches)`: progress.
DataEvaluation evaluate_data(OpenRun& run, const std::function<void(int64_t, int64_t)>& on_batch);

}  // namespace sft
