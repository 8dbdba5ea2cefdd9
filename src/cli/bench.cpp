// `sft bench`: tokens per second of a model's shape on this device, or on those of the ranks that a
// launcher started, and where the time goes.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "cli/commands.h"
#include "cli/launch.h"
#include "cli/terminal.h"
#include "comm/connect.h"
#include "core/error.h"
#include "core/numbers.h"
#include "core/strings.h"
#include "optim/optimizers.h"
#include "options/parser.h"
#include "options/text.h"
#include "run/bench.h"
#include "state/sharder.h"

namespace sft {

namespace {

struct BenchOptions {
  std::optional<std::string> model_name_or_path, gradient_checkpointing;
  BenchSettings settings;
  DeviceWish wish;
  std::string dtype = "float32", optim = "adamw_torch_fused";
  int64_t threads = 0;
  bool json = false, sweep = false;

  void visit(OptionTable& v) {
    v.group("Work");
    v("model_name_or_path", &model_name_or_path,
      "A model folder or a config.json; the weights are random.")
        .also("model");
    v("seq", &settings.seq, "Tokens a document.").at_least(1);
    v("per_device_train_batch_size", &settings.batch, "Documents a micro-batch.")
        .also("batch")
        .at_least(1);
    v("gradient_accumulation_steps", &settings.accumulation, "Micro-batches a step.").at_least(1);
    v("steps", &settings.steps, "Steps that are timed; two more come before.").at_least(1);
    v("trained_share", &settings.trained_share, "Share of the tokens that have a label.")
        .at_least(0)
        .at_most(1);
    v("gradient_checkpointing", &gradient_checkpointing, "What is computed again.")
        .one_of({"none", "norms", "mlp", "block"});
    v("activation_offloading", &settings.memory.offload, "Keep activations in the host's memory.");
    v("sweep", &sweep,
      "Micro-batches of 1, 2, 4, ... documents, as long as they fit and get faster, each with the "
      "cheapest recompute that fits.");
    v("by_op", &settings.by_op, "Also the milliseconds of each op, run one by one.");
    v("profile", &settings.profile, "Write a trace of that to this file; Perfetto opens it.");
    v.group(
        "Ranks (sft launch --nproc_per_node 8 bench ..., or torchrun --no-python sft bench ...)");
    settings.sharding.visit(v);
    v.group("Running");
    v("bf16", &wish.bf16, "Compute in bfloat16 where the device has it; none: the same.");
    v("fp16", &wish.fp16, "Compute in float16.");
    v("tf32", &wish.tf32, "Multiply float32 matrices (--bf16 false) in TensorFloat-32.");
    v("dtype", &dtype, "The type of the weights: float32, or bfloat16 without masters.")
        .one_of({"float32", "bfloat16"});
    v("optim", &optim, "The optimizer.").one_of(built_optimizers());
    v("use_cpu", &wish.use_cpu, "Use the CPU even where there is a GPU.");
    v("threads", &threads, "Threads to compute with; 0: the cores this process may use.")
        .at_most(kMostThreads);
    v("json", &json, "One JSON object.");
  }
};

// bfloat16 operations a second without sparsity, from the makers' data sheets; 0: not known.
double peak_flops(const std::string& device) {
  struct Peak {
    const char* name;
    double flops;
  };
  constexpr Peak kPeaks[] = {{"H100 PCIe", 756e12}, {"H100", 989e12}, {"H200", 989e12},
                             {"B200", 2250e12},     {"A100", 312e12}, {"L40S", 362e12},
                             {"RTX 4090", 165e12},  {"A10", 125e12}};
  for (const Peak& peak : kPeaks) {
    if (device.find(peak.name) != std::string::npos) {
      return peak.flops;
    }
  }
  return 0;
}

// "NVIDIA H100 80GB HBM3 x 8, zero_stage 1, bfloat16"
std::string devices(const LoadedModel& model, const Device& device, const Communicator& comm) {
  return fmt::format("{}{}, {}", device.name(),
                     comm.size() == 1 ? ""
                                      : fmt::format(" x {}, zero_stage {}", comm.size(),
                                                    model.shards.place().stage),
                     name_of(model.target.compute));
}

void print_sweep(const BenchOptions& o, LoadedModel& model, Device& device, Communicator& comm) {
  const bool first = comm.rank() == 0;
  Json all = Json::array();
  if (!o.json && first) {
    fmt::print("{}: {} tokens a document, {} micro-batches a step\n{:>6} {:>9} {:>12} {:>10}\n",
               devices(model, device, comm), o.settings.seq, o.settings.accumulation, "batch",
               "recompute", "tokens/s", "memory");
  }
  sweep_batches(o.settings, model, device, comm, [&](const SweepRow& row) {
    const BenchResult& r = row.result;
    all.push_back({{"batch", row.batch},
                   {"gradient_checkpointing", name_of(row.memory.recompute)},
                   {"activation_offloading", row.memory.offload},
                   {"tokens_per_s", r.tokens_per_s},
                   {"step_s", r.step_s},
                   {"memory_bytes", r.device_bytes},
                   {"planned_bytes", r.planned_bytes}});
    if (!o.json && first) {
      fmt::print("{:>6} {:>9} {:>12.0f} {:>10}\n", row.batch, name_of(row.memory.recompute),
                 r.tokens_per_s, human_bytes(r.device_bytes));
    }
  });
  if (o.json && first) {
    fmt::print("{}\n", to_text(all));
  }
}

void print_result(const BenchOptions& o, const BenchResult& r, const LoadedModel& model,
                  const Device& device, const Communicator& comm) {
  const double peak = peak_flops(device.name()) * comm.size();
  const double mfu = peak > 0 ? r.tokens_per_s * r.flops_per_token / peak : 0;
  if (o.json) {
    Json ops = Json::object();
    for (const auto& [name, ms] : r.ms_by_op) {
      ops[name] = ms;
    }
    const Json out = {{"device", device.name()},
                      {"compute", name_of(model.target.compute)},
                      {"ranks", comm.size()},
                      {"communicator", comm.name()},
                      {"zero_stage", model.shards.place().stage},
                      {"dtype", o.dtype},
                      {"optim", o.optim},
                      {"tf32", o.wish.tf32},
                      {"seq", o.settings.seq},
                      {"batch", o.settings.batch},
                      {"accumulation", o.settings.accumulation},
                      {"tokens_per_s", r.tokens_per_s},
                      {"step_s", r.step_s},
                      {"fastest_step_s", r.fastest_step_s},
                      {"flops_per_token", r.flops_per_token},
                      {"mfu", mfu},
                      {"memory_bytes", r.device_bytes},
                      {"planned_bytes", r.planned_bytes},
                      {"loss", r.loss},
                      {"ms_by_op", ops}};
    fmt::print("{}\n", to_text(out));
    return;
  }
  fmt::print("{}: {} tokens x {} documents x {} micro-batches a step\n",
             devices(model, device, comm), o.settings.seq, o.settings.batch,
             o.settings.accumulation);
  fmt::print(
      "{:.0f} tokens/s, {:.1f} ms a step (fastest {:.1f}), {} on the device ({} planned), loss "
      "{:.3f}\n",
      r.tokens_per_s, r.step_s * 1e3, r.fastest_step_s * 1e3, human_bytes(r.device_bytes),
      human_bytes(r.planned_bytes), r.loss);
  if (peak > 0) {
    fmt::print(
        "MFU {:.1f} % = tokens/s x {:.3f} GFLOP a token (6 N + 6 layers heads head_dim seq) "
        "/ {:.0f} TFLOP/s\n",
        mfu * 100, r.flops_per_token / 1e9, peak / 1e12);
  }
  std::vector<std::pair<double, std::string>> sorted;
  double total = 0;
  for (const auto& [name, ms] : r.ms_by_op) {
    sorted.emplace_back(ms, name);
    total += ms;
  }
  std::ranges::sort(sorted, std::greater<>());
  for (const auto& [ms, name] : sorted) {
    fmt::print("{:10.3f} ms {:5.1f} %  {}\n", ms, 100 * ms / total, name);
  }
}

// The whole of it, on one of the ranks.
void bench_rank(const BenchOptions& o, const std::filesystem::path& config, DType weights,
                const LaunchEnvironment& launch, RankControl& control) {
  const ChosenDevice chosen = choose_device(o.wish, {});
  Device& device = *chosen.device;
  const Holding holding = holding_of(o.settings.sharding, launch.rank, launch.world, device.kind());
  LoadedModel model = random_model(config, device, chosen.compute, weights, holding);
  const auto store = control_store(control);
  const auto comm = connect_ranks(
      launch, device, store.get(), control.timeout().count(), o.settings.sharding.copy_engines,
      [](const std::string& text) { fmt::print(stderr, "{}\n", text); });
  comm->report_to(control);
  const auto abort = control.on_failure([&](const Error& why) { comm->abort(why); });
  if (o.sweep) {
    print_sweep(o, model, device, *comm);
    return;
  }
  const BenchResult r = run_bench(o.settings, model, device, *comm);
  if (comm->rank() == 0) {
    print_result(o, r, model, device, *comm);
  }
}

}  // namespace

int run_bench(Args args, Terminal& terminal) {
  BenchOptions o;
  OptionTable table;
  o.visit(table);
  if (std::ranges::find(args, "--help") != args.end() ||
      std::ranges::find(args, "-h") != args.end()) {
    terminal.print(
        "sft bench --model FOLDER [options]\n\nTimes training steps of a model's shape on random "
        "weights and tokens.\n\n" +
        help_text(table, {terminal.settings().width, terminal.settings().out_color}));
    return 0;
  }
  parse_options(table, args, {.positionals = false, .config = false});
  if (!o.model_name_or_path) {
    throw Error("C061", "no model is given").hint("sft bench --model FOLDER --seq 1024");
  }
  std::filesystem::path config = *o.model_name_or_path;
  if (std::filesystem::is_directory(config)) {
    config /= "config.json";
  }
  const auto tokens = product({o.settings.seq, o.settings.batch});
  if (!tokens || *tokens > kMostCount ||
      !product({*tokens, o.settings.accumulation, o.settings.steps})) {
    throw Error(
        "C067",
        fmt::format("a micro-batch of {} documents (--batch) of {} tokens (--seq), {} "
                    "times a step for {} steps, is more than can be counted",
                    o.settings.batch, o.settings.seq, o.settings.accumulation, o.settings.steps))
        .hint("--batch 1 --gradient_accumulation_steps 1");
  }
  o.wish.threads = static_cast<int>(o.threads);
  for (const Recompute r : {Recompute::norms, Recompute::mlp, Recompute::block}) {
    if (o.gradient_checkpointing == name_of(r)) {
      o.settings.memory.recompute = r;
    }
  }
  OptimOptions optim;
  optim.optim = o.optim;
  o.settings.optimizer = optimizer_settings(optim, 0);
  const DType weights = o.dtype == "bfloat16" ? DType::bf16 : DType::f32;
  if (weights == DType::bf16) {
    o.wish.bf16 = true;
    o.wish.fp16 = false;
  }
  LaunchEnvironment launch = surrounding_launch();
  if (launch.role == LaunchEnvironment::Role::launcher) {
    launch = {};  // nobody has started ranks
  }
  o.wish.local_rank = launch.local_rank;
  o.wish.local_world = launch.local_world;
  constexpr double kTimeout = 600;
  const auto control = join_ranks(launch, kTimeout, terminal);
  run_as_rank(*control, [&] { bench_rank(o, config, weights, launch, *control); });
  return 0;
}

}  // namespace sft
