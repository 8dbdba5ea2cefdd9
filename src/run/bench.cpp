#include "run/bench.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "core/json.h"
#include "core/rng.h"
#include "formats/convert.h"
#include "state/sharder.h"
#include "train/batch_runner.h"
#include "train/memory_plan.h"
#include "train/peak_flops.h"

namespace sft {

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void update(Sharder& sharder, double norm, int64_t step) {
  OptimizerStep s;
  s.learning_rate = 1e-5;
  s.clip = clip_factor(norm, 1.0);
  s.step = step;
  sharder.update(s);
}

MemoryWish wish_of(const BenchSettings& s, const LoadedModel& model, const std::string& recompute) {
  MemoryWish wish;
  wish.recompute = recompute;
  wish.offload_activations = s.memory.offload;
  wish.mlp_tile = s.memory.mlp_tile;
  wish.optimizer = s.optimizer;
  wish.holding = model.holding();
  wish.sums_apart = sums_gradients_apart(s.sharding, wish.holding.place, s.accumulation);
  wish.accumulation = s.accumulation;
  const int64_t tokens = s.seq * s.batch;
  wish.longest = [tokens](int64_t) { return tokens; };
  return wish;
}

}  // namespace

MicroBatch random_batch(const BenchSettings& s, int64_t vocab, uint64_t number) {
  MicroBatch b;
  b.cu_seqlens = {0};
  const auto untrained =
      static_cast<int64_t>(std::lround((1.0 - s.trained_share) * static_cast<double>(s.seq)));
  for (int64_t d = 0; d < s.batch; ++d) {
    for (int64_t i = 0; i < s.seq; ++i) {
      const auto at = static_cast<uint64_t>(d * s.seq + i);
      const auto token =
          static_cast<int32_t>(philox(3, number, at)[0] % static_cast<uint32_t>(vocab));
      if (i > 0) {
        b.targets.push_back(i >= untrained ? token : kIgnored);
      }
      b.tokens.push_back(token);
      b.positions.push_back(static_cast<int32_t>(i));
    }
    b.targets.push_back(kIgnored);
    b.cu_seqlens.push_back(static_cast<int32_t>(b.tokens.size()));
  }
  b.num_tokens = static_cast<int64_t>(b.tokens.size());
  b.trained = std::ranges::count_if(b.targets, [](int32_t t) { return t != kIgnored; });
  b.rows = b.fresh_rows = s.batch;
  return b;
}

BenchResult run_bench(const BenchSettings& s, LoadedModel& model, Device& device,
                      Communicator& comm) {
  const MemoryWish wish = wish_of(s, model, name_of(s.memory.recompute));
  const double planned =
      estimate_memory(wish, model.model, device, model.target.compute, true).total();
  const auto free_before = static_cast<double>(device.free_memory());
  Sharder sharder(device, comm, model, s.sharding, s.optimizer, s.accumulation);
  Arena arena(device);
  BatchRunner runner(device, arena, model, sharder.gradients(),
                     {LossType::nll, s.memory, s.seq * s.batch, true});
  std::vector<MicroBatch> batches;
  for (int64_t i = 0; i < std::min<int64_t>(s.accumulation, 4); ++i) {
    batches.push_back(
        random_batch(s, model.model.config.vocab,
                     static_cast<uint64_t>(comm.rank()) * 4 + static_cast<uint64_t>(i)));
  }
  BenchResult result;
  result.planned_bytes = planned;
  std::vector<double> times;
  const double tokens = static_cast<double>(s.seq * s.batch * s.accumulation * comm.size());
  double own = 0;
  for (int64_t i = 0; i < s.accumulation; ++i) {
    own += static_cast<double>(batches[static_cast<size_t>(i) % batches.size()].trained);
  }
  for (int64_t step = 0; step < s.steps + s.warm_up; ++step) {
    comm.progress(step + 1);
    const double start = now();
    const double trained = comm.sum(own);  // as in training
    for (int64_t i = 0; i < s.accumulation; ++i) {
      const auto how = sharder.begin_micro_batch(i == 0, i + 1 == s.accumulation);
      runner.run(batches[static_cast<size_t>(i) % batches.size()],
                 static_cast<float>(1.0 / std::max(trained, 1.0)), how.overwrite, how.watcher);
    }
    const std::vector<BatchStats> stats = runner.collect();
    std::array<double, 2> loss{stats.back().loss, stats.back().tokens};
    comm.all_reduce(std::span<double>(loss));
    result.loss = loss[0] / std::max(1.0, loss[1]);
    sharder.finish_gradients();
    update(sharder, sharder.gradient_norm(), step + 1);
    device.synchronize();
    if (step >= s.warm_up) {
      times.push_back(now() - start);
    }
  }
  std::ranges::sort(times);
  result.step_s = comm.sum(times[times.size() / 2]) / comm.size();  // the same on every rank
  result.fastest_step_s = times.front();
  result.tokens_per_s = tokens / result.step_s;
  result.flops_per_token = flops_per_token(model.model, s.seq);
  result.device_bytes =
      free_before - static_cast<double>(device.free_memory()) +
      static_cast<double>((model.host ? 0 : model.weights.size()) +
                          (model.copy_on_host ? 0 : model.copy.size()) + model.norms.size() +
                          model.gathered.size() + model.frozen.device_size());
  const auto traced = [&](Trace::Order order, const std::function<void(const Trace&)>& use) {
    Trace trace(device, order);
    runner.trace(&trace);
    const auto how = sharder.begin_micro_batch(true, true);
    runner.run(batches[0], 1.0F, how.overwrite, how.watcher);
    runner.collect();
    runner.trace(nullptr);
    sharder.finish_gradients();
    double norm = 0;
    {
      const Trace::Phase phase(&trace, "grad_norm", true);
      norm = sharder.gradient_norm();
    }
    {
      const Trace::Phase phase(&trace, "adamw", true);
      update(sharder, norm, 100);
    }
    use(trace);
  };
  if (s.by_op) {
    traced(Trace::Order::one_by_one, [&](const Trace& trace) {
      for (const auto& [name, seconds] : trace.seconds_by_name()) {
        result.ms_by_op[name] = seconds * 1e3;
      }
    });
  }
  if (!s.profile.empty()) {
    traced(Trace::Order::as_it_runs, [&](const Trace& trace) {
      if (comm.rank() == 0) {
        trace.write(s.profile);
      }
    });
  }
  return result;
}

std::vector<SweepRow> sweep_batches(BenchSettings settings, LoadedModel& model, Device& device,
                                    Communicator& comm,
                                    const std::function<void(const SweepRow&)>& on_row) {
  std::vector<SweepRow> rows;
  double best = 0;
  int slower = 0;
  for (settings.batch = 1; slower < 2; settings.batch *= 2) {
    const MemoryPlan plan = estimate_memory(wish_of(settings, model, "auto"), model.model, device,
                                            model.target.compute, true);
    if (comm.sum(plan.fits() ? 0 : 1) > 0) {
      break;
    }
    settings.memory = plan.policy;
    comm.broadcast(std::as_writable_bytes(std::span(&settings.memory, 1)));
    rows.push_back({settings.batch, settings.memory, run_bench(settings, model, device, comm)});
    on_row(rows.back());
    const double rate = rows.back().result.tokens_per_s;
    slower = rate > best * 1.01 ? 0 : slower + 1;
    best = std::max(best, rate);
  }
  return rows;
}

}  // namespace sft
