// How likely a model finds given continuations of given beginnings. Used by `sft eval`.
#pragma once

#include <span>
#include <vector>

#include "run/open_run.h"
#include "train/batch_runner.h"

namespace sft {

struct Continued {
  std::vector<int32_t> context;       // at least one token
  std::vector<int32_t> continuation;  // may have none
};

struct Likelihood {
  double log = 0;      // natural, of the whole continuation
  bool greedy = true;  // each of its tokens is the likeliest one
};

class LikelihoodRunner {
 public:
  // Keeps a reference. `longest`: tokens of the longest pair. Longer ones than the model has
  // positions lose their beginning, as in lm-evaluation-harness, and are counted.
  LikelihoodRunner(OpenRun& run, int64_t longest);

  std::vector<Likelihood> of(std::span<const Continued> pairs);
  int64_t cut() const { return cut_; }

 private:
  Device& device_;
  int64_t most_;  // tokens that the model reads of a pair
  Arena arena_;
  BatchRunner runner_;
  int64_t cut_ = 0;
};

}  // namespace sft
