// Times reading a prompt and writing an answer on random weights, for `sft bench --decode`.
#pragma once

#include "run/bench.h"

namespace sft {

struct DecodeResult {
  double read_s = 0;        // the whole prompt, to the logits behind it
  double forward_s = 0;     // of a training program over the same tokens, one of them trained
  double token_s = 0;       // each token written, one text
  double weight_bytes = 0;  // that a written token reads: all of them but the input's table
  int64_t written = 0;      // tokens that were timed
};

// A prompt of settings.seq random tokens, then `tokens` written ones. C067 where the model has not
// so many positions.
DecodeResult run_decode_bench(const BenchSettings& settings, int64_t tokens, LoadedModel& model,
                              Device& device);

}  // namespace sft
