// `sft bench`: tokens per second of a model's shape on this device, or on those of the ranks that a
// launcher started, and where the time goes.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "cli/commands.h"
#include "cli/environment.h"
#include "cli/hub.h"
#include "cli/launch.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "core/file.h"
#include "core/numbers.h"
#include "core/strings.h"
#include "optim/optimizers.h"
#include "options/parser.h"
#include "run/bench.h"
#include "run/bench_decode.h"
#include "run/open_run.h"
#include "state/sharder.h"
#include "train/peak_flops.h"

namespace sft {

namespace {

struct BenchOptions {
  TrainOptions run;  // of a run's options those that a benchmark has
  std::optional<std::string> gradient_checkpointing;
  std::optional<int64_t> lora_r;
  BenchSettings settings;
  bool sweep = false;
  bool decode = false;
  int64_t new_tokens = 128;

  void visit(OptionTable& v) {
    v.group("Work");
    v("model_name_or_path", &run.model.model_name_or_path,
      "A model's folder, its config.json, a .gguf file or hub id; the weights are random.")
        .also("model");
    v("seq", &settings.seq, "Tokens a document.").at_least(1);
    v("per_device_train_batch_size", &run.per_device_train_batch_size, "Documents a micro-batch.")
        .also("batch")
        .at_least(1);
    v("gradient_accumulation_steps", &run.gradient_accumulation_steps, "Micro-batches a step.")
        .at_least(1);
    v("steps", &settings.steps, "Steps that are timed.").at_least(1);
    v("warm_up", &settings.warm_up,
      "Steps before them: in the first products choose their algorithms, in the second work is "
      "recorded.")
        .at_least(0);
    v("trained_share", &settings.trained_share, "Share of the tokens that have a label.")
        .at_least(0)
        .at_most(1);
    v("gradient_checkpointing", &gradient_checkpointing, "What is computed again.")
        .one_of({"none", "norms", "mlp", "block"});
    v("activation_offloading", &settings.memory.offload, "Keep activations in the host's memory.");
    v("mlp_tile", &settings.memory.mlp_tile,
      "With --lora_r: tokens whose MLP is computed at a time, and whose logits are held, for long "
      "documents; 0: all.")
        .at_least(0);
    v("lora_r", &lora_r, "Adapters of this rank on all linear layers; without it all is trained.")
        .at_least(1);
    v("use_dora", &run.model.use_dora,
      "With --lora_r: adapters that keep the rows' lengths apart (DoRA).");
    v("lora_target_modules", &run.model.lora_target_modules, "With --lora_r: these layers alone.");
    v("lora_target_parameters", &run.model.lora_target_parameters,
      "With --lora_r: adapters on these weights of experts.");
    v("sweep", &sweep,
      "Micro-batches of 1, 2, 4, ... documents, as long as they fit and get faster, each with the "
      "cheapest recompute that fits.");
    v("decode", &decode,
      "Instead of training steps: read a prompt of --seq tokens and write --new_tokens, one text.");
    v("new_tokens", &new_tokens, "With --decode: tokens that are written.").at_least(2);
    v("by_op", &settings.by_op, "Also the milliseconds of each op, run one by one.");
    v("profile", &settings.profile, "Write a trace of that to this file; Perfetto opens it.");
    run.model.visit_quantisation(v);
    v.group(
        "Ranks (sft launch --nproc_per_node 8 bench ..., or torchrun --no-python sft bench ...)");
    run.sharding.visit(v);
    v.group("Running");
    v("bf16", &run.bf16, "Compute in bfloat16 where the device has it; none: the same.");
    v("fp16", &run.fp16, "Compute in float16.");
    v("tf32", &run.tf32, "Multiply float32 matrices (--bf16 false) in TensorFloat-32.");
    v("dtype", &run.model.dtype, "The type of the weights: float32, or bfloat16 without masters.")
        .one_of({"float32", "bfloat16"});
    v("optim", &run.optim.optim, "The optimizer.").one_of(built_optimizers());
    v("use_cpu", &run.use_cpu, "Use the CPU even where there is a GPU.");
    v("threads", &run.threads, "Threads to compute with; 0: the cores this process may use.")
        .at_most(kMostThreads);
    v("json", &run.json, "One JSON object.");
  }
};

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
  if (!o.run.json && first) {
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
    if (!o.run.json && first) {
      fmt::print("{:>6} {:>9} {:>12.0f} {:>10}\n", row.batch, name_of(row.memory.recompute),
                 r.tokens_per_s, human_bytes(r.device_bytes));
    }
  });
  if (o.run.json && first) {
    fmt::print("{}\n", to_text(all));
  }
}

void print_result(const BenchOptions& o, const BenchResult& r, const LoadedModel& model,
                  const Device& device, const Communicator& comm) {
  const double peak = peak_flops(device.name()) * comm.size();
  const double mfu = peak > 0 ? r.tokens_per_s * r.flops_per_token / peak : 0;
  if (o.run.json) {
    Json ops = Json::object();
    for (const auto& [name, ms] : r.ms_by_op) {
      ops[name] = ms;
    }
    const Json out = {{"device", device.name()},
                      {"compute", name_of(model.target.compute)},
                      {"ranks", comm.size()},
                      {"communicator", comm.name()},
                      {"zero_stage", model.shards.place().stage},
                      {"dtype", o.run.model.dtype},
                      {"optim", o.run.optim.optim},
                      {"tf32", o.run.tf32.value_or(false)},
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

void print_decode(const BenchOptions& o, LoadedModel& model, Device& device) {
  const DecodeResult r = run_decode_bench(o.settings, o.new_tokens, model, device);
  const auto seq = static_cast<double>(o.settings.seq);
  if (o.run.json) {
    fmt::print("{}\n", to_text(Json{{"device", device.name()},
                                    {"compute", name_of(model.target.compute)},
                                    {"prompt_tokens", o.settings.seq},
                                    {"prompt_tokens_per_s", seq / r.read_s},
                                    {"forward_tokens_per_s", seq / r.forward_s},
                                    {"tokens", r.written},
                                    {"tokens_per_s", 1.0 / r.token_s},
                                    {"weight_bytes", r.weight_bytes},
                                    {"weight_bytes_per_s", r.weight_bytes / r.token_s}}));
    return;
  }
  fmt::print(
      "{}, {}: a prompt of {} tokens, {} written\n"
      "prompt {:.0f} tokens/s ({:.2f} ms; a training program's forward pass over them {:.2f} ms)\n"
      "written {:.0f} tokens/s ({:.3f} ms each): {} of weights a token, {}/s\n",
      device.name(), name_of(model.target.compute), o.settings.seq, r.written, seq / r.read_s,
      r.read_s * 1e3, r.forward_s * 1e3, 1.0 / r.token_s, r.token_s * 1e3,
      human_bytes(r.weight_bytes), human_bytes(r.weight_bytes / r.token_s));
}

// The whole of it, on one of the ranks.
void bench_rank(const BenchOptions& o, OpenRun& run) {
  LoadedModel& model = run.weights();
  if (o.decode) {
    return print_decode(o, model, run.device());
  }
  if (o.sweep) {
    print_sweep(o, model, run.device(), run.ranks());
    return;
  }
  const BenchResult r = run_bench(o.settings, model, run.device(), run.ranks());
  if (run.first()) {
    print_result(o, r, model, run.device(), run.ranks());
  }
}

// The config.json that `name` is or has, where it is no model by itself.
fs::path config_of(const std::string& name) {
  const fs::path path(name);
  if (is_file(path / "config.json")) {
    return path / "config.json";
  }
  return is_file(path) && path.extension() == ".json" ? path : fs::path();
}

}  // namespace

int run_bench(Args args, Terminal& terminal) {
  BenchOptions o;
  OptionTable table;
  o.visit(table);
  if (asks_for_help(args)) {
    show_usage(
        "sft bench --model FOLDER [options]\n\nTimes training steps of a model's shape, or with "
        "--decode generation, on random weights and tokens.",
        table, terminal);
    return 0;
  }
  parse_options(table, args, {.positionals = false, .config = false});
  require_model(o.run);
  if (!o.settings.profile.empty()) {
    check_profile(o.settings.profile);
  }
  if (o.lora_r) {
    o.run.model.use_peft = true;
    o.run.model.lora_r = *o.lora_r;
    o.run.model.lora_dropout = 0;
    if (o.run.model.lora_target_modules.empty()) {
      o.run.model.lora_target_modules = {"all-linear"};
    }
  }
  o.settings.batch = o.run.per_device_train_batch_size;
  o.settings.accumulation = o.run.gradient_accumulation_steps;
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
  for (const Recompute r : {Recompute::norms, Recompute::mlp, Recompute::block}) {
    if (o.gradient_checkpointing == name_of(r)) {
      o.settings.memory.recompute = r;
    }
  }
  LaunchEnvironment launch = surrounding_launch();
  if (launch.role == LaunchEnvironment::Role::launcher) {
    launch = {};  // nobody has started ranks
  }
  o.run = validate(o.run, {launch.world, launch.local_world});
  o.settings.sharding = o.run.sharding;
  o.settings.optimizer = optimizer_settings(o.run.optim, 0);
  const Logger log = launch.rank == 0 ? terminal.logger(0, 0) : Logger();
  constexpr double kTimeout = 600;
  const auto control = join_ranks(launch, kTimeout, terminal);
  const HubEnvironment hub = hub_environment(terminal, log);
  RunSurroundings surroundings{log, hub};
  surroundings.environment = read_environment();
  load_cudnn(surroundings.environment, log);
  surroundings.launch = launch;
  surroundings.control = control.get();
  run_as_rank(*control, [&] {
    OpenRun run(o.run, surroundings, Outputs::checked,
                {.config = config_of(*o.run.model.model_name_or_path),
                 .random_weights = true,
                 .only_used = o.decode});
    bench_rank(o, run);
  });
  return 0;
}

}  // namespace sft
