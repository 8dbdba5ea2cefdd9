#include "run/run_plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "core/strings.h"
#include "model/model.h"
#include "run/open_run.h"

namespace sft {

namespace {

// Rows as they are trained in TRL's order: what is counted must be all of them.
TrainOptions counted(TrainOptions options) {
  options.data.dataset_order = "trl";
  return options;
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

RunPlan plan_training(const TrainOptions& options, const RunSurroundings& surroundings) {
  OpenRun run(counted(options), surroundings);
  run.check();
  const Model& model = run.shape();
  RunPlan plan;
  plan.model = fmt::format("{} ({}), {} parameters", run.source().name(), model.config.architecture,
                           with_commas(model.values()));
  const Prepared& train = run.rows(Part::train);
  plan.data = train.report;
  plan.train = survey(train, run.options().data, run.device().threads());
  if (run.evaluates()) {
    plan.eval = survey(run.rows(Part::eval), run.options().data, run.device().threads());
  }
  const StepCount steps = run.steps();
  run.check_same_run();
  plan.rows_a_batch = run.options().per_device_train_batch_size;
  plan.steps = steps.total;
  plan.steps_per_epoch = steps.per_epoch;
  plan.epochs = static_cast<double>(steps.total) / static_cast<double>(steps.per_epoch);
  const auto a_step = [&](int64_t amount) {
    return static_cast<double>(amount) / static_cast<double>(steps.per_epoch);
  };
  plan.rows_a_step = a_step(train.rows->size());
  plan.tokens_a_step = a_step(plan.train.tokens);
  plan.trained_a_step = a_step(plan.train.tokens_trained);
  MemoryWish wish = run.memory_wish();
  wish.longest = [&, known = wish.longest](int64_t count) {
    return train.rows->bound() ? plan.train.longest_batch_row * std::min(count, train.rows->size())
                               : known(count);
  };
  plan.memory = estimate_memory(wish, model, run.device(), run.compute());
  if (!plan.memory.fits()) {
    plan.fitting = fitting_settings(wish, model, run.device(), run.compute());
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
  if (!o.exports.empty()) {
    out.push_back(fmt::format("export     {}, when training is done", fmt::join(o.exports, ", ")));
  }
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
