// Options of looking at a run: its page, what the model writes at each evaluation, and when a run
// that gets no better ends.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "options/options.h"

namespace sft {

struct ReportOptions {
  bool watch = false;
  std::string watch_host = "127.0.0.1";
  int64_t watch_port = 0;  // 0: any free one
  std::optional<double> price_per_hour;

  int64_t eval_samples = 0;
  std::optional<std::string> eval_prompts;  // a file
  int64_t eval_max_new_tokens = 128;
  bool eval_do_sample = false;
  double eval_temperature = 1.0;
  bool generates() const { return eval_samples > 0 || eval_prompts; }

  std::optional<int64_t> early_stopping_patience;  // evaluations
  double early_stopping_threshold = 0;

  void visit(OptionTable& v);
};

}  // namespace sft
