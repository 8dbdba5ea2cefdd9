// What is summed up between two log lines, and in an evaluation, in TRL's way of averaging. Its
// JSON is part of a checkpoint, so that a resumed run prints the same next line.
#pragma once

#include <cstdint>
#include <limits>

#include "core/json.h"

namespace sft {

struct Interval {
  double loss = 0;  // sum over steps of the step's mean loss per trained token
  int64_t steps = 0;
  double accuracy = 0, entropy = 0;  // sums over micro-batches of their means
  int64_t batches = 0;
  double seconds = 0;
  int64_t tokens = 0;

  // A micro-batch's sums over all ranks; one without trained tokens counts as 0, as in TRL.
  void add_batch(double correct, double entropies, double trained) {
    accuracy += trained > 0 ? correct / trained : 0.0;
    entropy += trained > 0 ? entropies / trained : 0.0;
    ++batches;
  }
  double mean_loss() const { return ratio(loss, steps); }
  double mean_accuracy() const { return ratio(accuracy, batches); }
  double mean_entropy() const { return ratio(entropy, batches); }

  Json json() const {
    return {{"loss", loss},       {"steps", steps},     {"accuracy", accuracy},
            {"entropy", entropy}, {"batches", batches}, {"tokens", tokens}};
  }
  static Interval from(const Json& j) {
    Interval i;
    i.loss = j.at("loss");
    i.steps = j.at("steps");
    i.accuracy = j.at("accuracy");
    i.entropy = j.at("entropy");
    i.batches = j.at("batches");
    i.tokens = j.at("tokens");
    return i;
  }

 private:
  static double ratio(double sum, int64_t n) {
    return n > 0 ? sum / static_cast<double>(n) : std::numeric_limits<double>::quiet_NaN();
  }
};

}  // namespace sft
