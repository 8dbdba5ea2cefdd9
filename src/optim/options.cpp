#include "optim/options.h"

#include "core/numbers.h"
#include "optim/optimizers.h"
#include "optim/schedule.h"

namespace sft {
namespace {

void visit_rate(OptimOptions& o, OptionTable& v) {
  v.group("Learning rate");
  v("learning_rate", &o.learning_rate, "Peak learning rate.").at_least(0);
  v("lr_scheduler_type", &o.lr_scheduler_type, "How it changes over the run.")
      .one_of(schedule_names());
  v("lr_scheduler_kwargs", &o.lr_scheduler_kwargs,
    "The schedule's own settings, as JSON: '{\"min_lr\": 0}'.");
  v("warmup_steps", &o.warmup_steps, "Steps of warmup; below 1, a share of all steps.")
      .at_most(kMostCount);
  v("warmup_ratio", &o.warmup_ratio, "Share of all steps, when warmup_steps is 0.")
      .at_least(0)
      .at_most(1);
}

void visit_optimizer(OptimOptions& o, OptionTable& v) {
  v.group("Optimizer");
  v("optim", &o.optim,
    "AdamW with moments in float32, in bfloat16 (adamw_bf16) or as bitsandbytes' 8-bit blocks "
    "(adamw_8bit); Lion, also in 8 bits; sgd, rmsprop, adagrad, adafactor; muon for the matrices "
    "of "
    "the layers with AdamW for what is left. Paged names mean the same as the others.")
      .one_of(known_optimizers())
      .built_only(built_optimizers(), "it is not built");
  v("optim_args", &o.optim_args,
    "Further arguments, k=v,k=v. sgd: momentum, dampening, nesterov; rmsprop: alpha, momentum, "
    "eps, "
    "centered; adagrad: lr_decay, eps; muon: momentum, nesterov, adjust_lr_fn.");
  v("optim_target_modules", &o.optim_target_modules, "Layers for GaLore and APOLLO.")
      .planned("only those two read it, and they are not here");
  v("adam_beta1", &o.adam_beta1, "AdamW's and Lion's first decay.").at_least(0).below(1);
  v("adam_beta2", &o.adam_beta2, "AdamW's and Lion's second decay.").at_least(0).below(1);
  v("adam_epsilon", &o.adam_epsilon, "AdamW's epsilon.").at_least(0);
  v("weight_decay", &o.weight_decay, "Decay of all weights but norms and biases.").at_least(0);
  v("max_grad_norm", &o.max_grad_norm, "Clip the gradient's norm to this; 0: never.").at_least(0);
  v("average_tokens_across_devices", &o.average_tokens_across_devices,
    "Divide the loss by the trained tokens of all devices; false: the mean of each device's mean.");
  v("label_smoothing_factor", &o.label_smoothing_factor,
    "The share of a label's weight that all tokens of the vocabulary get alike; not with dft.")
      .at_least(0)
      .below(1);
}

}  // namespace

void OptimOptions::visit(OptionTable& v) {
  visit_rate(*this, v);
  visit_optimizer(*this, v);
}

}  // namespace sft
