// What a model writes for the prompts of a run, at one step. Made by run/sample_writer, logged by
// RunLog.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sft {

struct SampleLog {
  std::string prompt, text;
  std::optional<std::string> reference{};
  bool ended = false;  // by the model itself
  int64_t tokens = 0;
};

struct WrittenSamples {
  std::vector<SampleLog> samples;
  // Means over the samples that have a reference: "eval_exact_match", "eval_rougeL".
  std::vector<std::pair<std::string, double>> metrics;
};

}  // namespace sft
