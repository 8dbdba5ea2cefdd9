#include "run/run_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/strings.h"
#include "data/tokens/sampler.h"
#include "model/model.h"
#include "run/choose_device.h"
#include "run/hub_push.h"
#include "run/output_folder.h"
#include "run/preflight.h"
#include "settings/nested_options.h"

namespace sft {

namespace {

// Rows as they are trained in TRL's order: what is counted must be all of them.
DataOptions counted(DataOptions data) {
  data.dataset_order = "trl";
  return data;
}

std::string steps_line(const RunPlan& plan, const TrainOptions& o) {
  return fmt::format(
      "steps      {} in all, {} an epoch: {} rows a step ({} a batch x {} accumulated), {} "
      "tokens, {} trained",
      with_commas(plan.steps), with_commas(plan.steps_per_epoch),
      plan.rows_a_batch * o.gradient_accumulation_steps, plan.rows_a_batch,
      o.gradient_accumulation_steps, with_commas(std::llround(plan.tokens_a_step)),
      with_commas(std::llround(plan.trained_a_step)));
}

}  // namespace

StepCount count_steps(const TrainOptions& o, const PreparedDataset& rows, int ranks) {
  BatchPlan plan;
  plan.rows = rows.size();
  plan.per_device = o.per_device_train_batch_size;
  plan.world = ranks;
  plan.drop_last = o.data.dataloader_drop_last;
  if (sampling_of(o) == Sampling::batch_rebalance && rows.windows() == nullptr) {
    plan.rebalanced = o.gradient_accumulation_steps;
  }
  const int64_t batches = plan.batches();
  const int64_t a_step = o.gradient_accumulation_steps;
  const int64_t per_epoch = std::max<int64_t>((batches + a_step - 1) / a_step, 1);
  const auto total =
      static_cast<int64_t>(std::ceil(o.num_train_epochs * static_cast<double>(per_epoch)));
  return {per_epoch, o.max_steps > 0 ? o.max_steps : total};
}

RunPlan plan_training(const TrainOptions& asked, const RunSurroundings& s) {
  TrainOptions o = asked;  // auto_find_batch_size changes it
  require_inputs(o);
  const ChosenDevice chosen = choose_device({.use_cpu = o.use_cpu,
                                             .bf16 = o.wants_bf16(),
                                             .threads = static_cast<int>(o.threads),
                                             .fp16 = o.wants_fp16(),
                                             .tf32 = o.tf32.value_or(false)},
                                            s.logger);
  Device* const device = chosen.device.get();
  check_outputs(o);
  const auto [source, model, text] = open_model(o, s.hub, s.logger);
  if (o.hub.push_to_hub) {
    HubPush::check(o, s.hub);
  }
  if (const auto found = checkpoint_to_resume(o, "", 0, device->threads(), s.logger)) {
    check_resumable(found->checkpoint, o, device->threads(), found->verified);
  }
  const DataContext context{
      text.tokenizer, text.chat ? &*text.chat : nullptr, device->threads(), s.logger,
      s.hub,          static_cast<uint64_t>(o.seed),     model.config.vocab};
  const DataOptions data = counted(o.data);
  RunPlan plan;
  plan.model = fmt::format("{} ({}), {} parameters", source->name(), model.config.architecture,
                           with_commas(model.values()));
  const bool evaluates = o.eval_strategy != "no" || o.eval_on_start;
  if (evaluates) {
    check_dataset(data, Part::eval, context);
  }
  const Prepared train = prepare_dataset(data, Part::train, context);
  plan.data = train.report;
  plan.train = survey(train, data, device->threads());
  std::optional<Prepared> eval;
  if (evaluates) {
    eval = prepare_dataset(data, Part::eval, context);
    plan.eval = survey(*eval, data, device->threads());
  }
  const Holding holding = holding_of(o.sharding, s.launch.rank, s.launch.world, device->kind());
  if (o.auto_find_batch_size) {
    o.per_device_train_batch_size =
        fitting_batch_size(o, model, *device, chosen.compute, holding, *train.rows,
                           eval ? eval->rows.get() : nullptr, s.logger, s.launch.local_world);
  }
  plan.rows_a_batch = o.per_device_train_batch_size;
  const StepCount steps = count_steps(o, *train.rows, s.launch.world);
  plan.steps = steps.total;
  plan.steps_per_epoch = steps.per_epoch;
  plan.epochs = static_cast<double>(steps.total) / static_cast<double>(steps.per_epoch);
  const auto a_step = [&](int64_t amount) {
    return static_cast<double>(amount) / static_cast<double>(steps.per_epoch);
  };
  plan.rows_a_step = a_step(train.rows->size());
  plan.tokens_a_step = a_step(plan.train.tokens);
  plan.trained_a_step = a_step(plan.train.tokens_trained);
  check_steps(o, *train.rows, s.launch.world);
  check_lengths(*train.rows, model.config);
  MemoryWish wish =
      memory_wish(o, holding, *train.rows, eval ? eval->rows.get() : nullptr, s.launch.local_world);
  wish.longest = [&, known = wish.longest](int64_t count) {
    return train.rows->bound() ? plan.train.longest_batch_row * std::min(count, train.rows->size())
                               : known(count);
  };
  plan.memory = estimate_memory(wish, model, *device, chosen.compute);
  if (!plan.memory.fits()) {
    plan.fitting = fitting_settings(wish, model, *device, chosen.compute);
  }
  return plan;
}

Json to_json(const RunPlan& plan) {
  const MemoryPlan& m = plan.memory;
  Json out = {{"model", plan.model},
              {"data", plan.data},
              {"train", to_json(plan.train)},
              {"steps", plan.steps},
              {"steps_per_epoch", plan.steps_per_epoch},
              {"epochs", plan.epochs},
              {"rows_a_step", plan.rows_a_step},
              {"tokens_a_step", plan.tokens_a_step},
              {"trained_a_step", plan.trained_a_step},
              {"memory",
               {{"weights", m.weights},
                {"gradients", m.gradients},
                {"moments", m.moments},
                {"activations", m.activations},
                {"needed", m.needed()},
                {"free", m.free},
                {"masters", m.masters},
                {"workspace", m.workspace},
                {"copy_while_saving", m.copy},
                {"peak", m.peak()},
                {"host", m.host},
                {"recompute", name_of(m.policy.recompute)},
                {"offload", m.policy.offload},
                {"fits", m.fits()}}}};
  if (plan.eval) {
    out["eval"] = to_json(*plan.eval);
  }
  return out;
}

std::vector<std::string> describe(const RunPlan& plan, const TrainOptions& o, int width,
                                  bool bars) {
  std::vector<std::string> out = {"model      " + plan.model};
  for (std::string& line : describe(plan.train, o.data, width, bars)) {
    out.push_back(std::move(line));
  }
  if (plan.eval) {
    out.push_back(fmt::format("evaluation {} rows, {} tokens, {} trained",
                              with_commas(plan.eval->documents), with_commas(plan.eval->tokens),
                              with_commas(plan.eval->tokens_trained)));
  }
  out.push_back(steps_line(plan, o));
  const MemoryPlan& m = plan.memory;
  out.push_back("memory     " + m.line().substr(std::string("memory: ").size()));
  if (!m.fits()) {
    out.emplace_back("           IT DOES NOT FIT: training would refuse with G010");
    if (!plan.fitting.empty()) {
      out.push_back("           what fits: " + plan.fitting);
    }
  }
  return out;
}

}  // namespace sft
