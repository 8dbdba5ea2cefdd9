// What is summed up between two log lines, and in an evaluation, in TRL's way of averaging. Its
// state is part of a checkpoint, so that a resumed run prints the same next line.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "core/saved_state.h"

namespace sft {

// What is not finite is in no sum: it would stay there, and JSON has no number for it. The step
// that it came from is counted and said where it is skipped.
struct Interval {
  double loss = 0;                   // sum over steps of the step's mean loss per trained token
  int64_t losses = 0;                // steps in that sum
  int64_t steps = 0;                 // all
  double accuracy = 0, entropy = 0;  // sums over micro-batches of their means
  double balance = 0;                // likewise, of the routers' auxiliary loss
  int64_t batches = 0;               // in these sums
  double seconds = 0;
  int64_t tokens = 0;

  // A micro-batch's sums over all ranks; one without trained tokens counts as 0, as in TRL.
  void add_batch(double correct, double entropies, double trained, double auxiliary = 0) {
    const double right = trained > 0 ? correct / trained : 0.0;
    const double spread = trained > 0 ? entropies / trained : 0.0;
    if (std::isfinite(right) && std::isfinite(spread) && std::isfinite(auxiliary)) {
      balance += auxiliary;
      accuracy += right;
      entropy += spread;
      ++batches;
    }
  }
  void add_step(double step_loss) {
    ++steps;
    if (std::isfinite(step_loss)) {
      loss += step_loss;
      ++losses;
    }
  }
  double mean_loss() const { return ratio(loss, losses); }
  double mean_accuracy() const { return ratio(accuracy, batches); }
  double mean_balance() const { return ratio(balance, batches); }
  double mean_entropy() const { return ratio(entropy, batches); }

  // `seconds` are this process's.
  void visit(StateTable& v) {
    v("loss", &loss);
    v("losses", &losses);
    v("steps", &steps);
    v("accuracy", &accuracy);
    v("entropy", &entropy);
    v("balance", &balance);
    v("batches", &batches);
    v("tokens", &tokens);
  }

 private:
  static double ratio(double sum, int64_t n) {
    return n > 0 ? sum / static_cast<double>(n) : std::numeric_limits<double>::quiet_NaN();
  }
};

}  // namespace sft
