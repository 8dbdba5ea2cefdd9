// What the user can say about the optimizer and the learning rate. Names and defaults are TRL's.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "options/options.h"

namespace sft {

struct OptimOptions {
  double learning_rate = 2e-5;
  std::string lr_scheduler_type = "linear";
  Json lr_scheduler_kwargs;
  double warmup_steps = 0.0;  // below 1: a share of all steps
  std::optional<double> warmup_ratio;

  std::string optim = "adamw_torch_fused";
  std::optional<std::string> optim_args;
  std::vector<std::string> optim_target_modules;
  double weight_decay = 0.0;
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.999;
  double adam_epsilon = 1e-8;
  double max_grad_norm = 1.0;  // 0: no clipping
  bool average_tokens_across_devices = true;
  double label_smoothing_factor = 0.0;

  void visit(OptionTable& v);
};

}  // namespace sft
