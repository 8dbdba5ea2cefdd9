#include "train/memory_plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <numeric>

#include "comm/communicator.h"
#include "core/error.h"
#include "core/strings.h"
#include "data/tokens/batch_rebalance.h"
#include "model/adapters.h"
#include "model/generation.h"
#include "model/options.h"
#include "optim/optimizers.h"
#include "settings/nested_options.h"
#include "state/trained_types.h"
#include "train/background_save.h"

namespace sft {

int64_t longest_batch(const PreparedDataset& data, int64_t rows) {
  if (data.bound()) {
    return *data.bound() * std::min(rows, data.size());
  }
  std::vector<int64_t> lengths(static_cast<size_t>(data.size()));
  for (int64_t i = 0; i < data.size(); ++i) {
    lengths[static_cast<size_t>(i)] = data.length(i);
  }
  const auto count = static_cast<size_t>(std::min(rows, data.size()));
  std::ranges::partial_sort(lengths, lengths.begin() + static_cast<long>(count), std::greater<>());
  return std::accumulate(lengths.begin(), lengths.begin() + static_cast<long>(count), int64_t{0});
}

namespace {

// The most tokens that a micro-batch of batch_rebalance has in any epoch of the run.
int64_t longest_rebalanced(const TrainOptions& o, int ranks, const PreparedDataset& data,
                           int64_t rows) {
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < data.size(); ++i) {
    lengths.push_back(data.length(i));
  }
  const Rebalance how{rows * ranks * o.gradient_accumulation_steps, ranks,
                      o.gradient_accumulation_steps, o.data.dataloader_drop_last};
  const double steps_an_epoch =
      std::ceil(static_cast<double>(data.size()) / static_cast<double>(how.step_rows));
  const double epochs =
      o.max_steps > 0 ? static_cast<double>(o.max_steps) / steps_an_epoch + 1 : o.num_train_epochs;
  int64_t most = 1;
  for (int64_t epoch = 0; epoch < static_cast<int64_t>(std::ceil(epochs)); ++epoch) {
    for (int rank = 0; rank < ranks; ++rank) {
      for (const auto& batch : rebalanced_batches(lengths, how, epoch, rank)) {
        int64_t tokens = 0;
        for (const int64_t row : batch) {
          tokens += lengths[static_cast<size_t>(row)];
        }
        most = std::max(most, tokens);
      }
    }
  }
  return most;
}

}  // namespace

TokenLoss token_loss(const TrainOptions& o) {
  return o.loss_type == "dft"
             ? TokenLoss(LossType::dft)
             : TokenLoss(LossType::nll, static_cast<float>(o.optim.label_smoothing_factor));
}

MemoryWish memory_wish(const TrainOptions& o, const Holding& holding, const PreparedDataset& train,
                       const PreparedDataset* eval, int ranks_here) {
  MemoryWish wish;
  wish.saves = o.save_strategy != "no";
  wish.ranks_here = ranks_here;
  wish.holding = holding;
  wish.sums_apart = sums_gradients_apart(o.sharding, holding.place, o.gradient_accumulation_steps);
  wish.recompute = o.recompute();
  wish.offload_activations = o.activation_offloading;
  wish.mlp_tile = o.mlp_tile;
  wish.loss = token_loss(o);
  wish.noise = o.neftune_noise_alpha.has_value();
  wish.optimizer = optimizer_settings(o.optim, 0);
  wish.rows = o.per_device_train_batch_size;
  wish.longest = [&train](int64_t rows) { return longest_batch(train, rows); };
  if (sampling_of(o) == Sampling::batch_rebalance && !train.bound()) {
    wish.longest = [&o, &train, ranks = holding.place.ranks](int64_t rows) {
      return longest_rebalanced(o, ranks, train, rows);
    };
  }
  wish.eval_tokens = eval != nullptr ? longest_batch(*eval, o.per_device_eval_batch_size) : 0;
  wish.accumulation = o.gradient_accumulation_steps;
  return wish;
}

namespace {

constexpr Recompute kPolicies[] = {Recompute::none, Recompute::norms, Recompute::mlp,
                                   Recompute::block};

// What a recorded launch takes on the device, and how many sizes of batches are recorded: those of
// one octave of the ladder with a few numbers of trained rows each, or the few that packed rows
// have.
constexpr double kLaunchBytes = 2048;
constexpr double kRecordings = 48;
// And what a recorded instruction takes in the host's memory.
constexpr double kInstructionBytes = 1024;
constexpr double kMostPrefetchedBytes = 256 << 20;  // data/tokens/prefetcher.h

struct ProgramBytes {
  double device = 0, host = 0, recorded = 0;
};

// Of reading prompts. The next tokens take less, one of each lane.
double writing_bytes(const Model& model, const Target& target, const MemoryWish& wish) {
  if (wish.cached_tokens == 0) {
    return 0;
  }
  const LogitsProgram recorded =
      record_generation(model, wish.read_tokens, wish.cached_tokens, target);
  return static_cast<double>(plan_memory(recorded.program).bytes);
}

ProgramBytes program_bytes(const Model& model, const Target& target, int64_t tokens, TokenLoss loss,
                           bool noise, bool training, MemoryPolicy policy) {
  if (tokens == 0) {
    return {};
  }
  BatchSize size = program_size(target.device, tokens, tokens, tokens);
  size.noise = noise;
  size.dropout = training && model.has_dropout();
  size.balance = model.config.balances();
  const TrainingProgram recorded = record_training(model, size, loss, training, policy, target);
  const Plan plan = plan_memory(recorded.program);
  ProgramBytes bytes;
  bytes.device = static_cast<double>(plan.bytes);
  if (noise) {
    bytes.device += static_cast<double>(size.tokens * model.config.hidden) * sizeof(float);
  }
  bytes.host = static_cast<double>(plan.host_bytes);
  bytes.recorded = kRecordings *
                   (target.device == DeviceKind::cpu ? kInstructionBytes : kLaunchBytes) *
                   static_cast<double>(recorded.program.instructions().size());
  return bytes;
}

// What a CPU's run takes beside tensors: oneDNN's code and what else of libraries is touched first
// in a step; of each thread its stack, its part of the heap and what it packs matrices into; the
// batches made ahead, with those of the step at work; the pieces on their way into a file.
double cpu_workspace(const MemoryWish& wish, const Device& device, int64_t most_tokens) {
  constexpr double kMiB = 1 << 20;
  constexpr double kLibraries = 64 * kMiB, kThread = 12 * kMiB, kSaving = 24 * kMiB;
  constexpr double kTokenBytes = 24;
  const auto steps = static_cast<double>(wish.accumulation);
  const double ahead =
      std::min(kMostPrefetchedBytes, 3 * steps * static_cast<double>(most_tokens) * kTokenBytes);
  return kLibraries + kThread * const_cast<Device&>(device).threads().size() + kSaving + ahead +
         steps * static_cast<double>(most_tokens) * kTokenBytes;
}

// Resident, files included.
double taken_already() {
  std::ifstream statm("/proc/self/statm");
  double all = 0, resident = 0;
  statm >> all >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

// How a policy is asked for.
std::string flags_of(MemoryPolicy policy) {
  return fmt::format("--gradient_checkpointing {}{}", name_of(policy.recompute),
                     policy.offload ? " --activation_offloading" : "");
}

// The policies to try, cheapest first.
std::vector<MemoryPolicy> policies_of(const MemoryWish& wish, DeviceKind device) {
  const bool offload = wish.offload_activations && device != DeviceKind::cpu;
  std::vector<MemoryPolicy> policies;
  const auto add = [&](Recompute r, bool away) {
    policies.emplace_back(r, away).mlp_tile = wish.mlp_tile;
  };
  for (const Recompute r : kPolicies) {
    if (wish.recompute == name_of(r)) {
      policies.clear();
      add(r, offload);
      return policies;
    }
    add(r, false);
  }
  if (offload) {
    add(Recompute::block, true);
  }
  return policies;
}

// Everything that does not depend on the batch.
MemoryPlan standing_memory(const MemoryWish& wish, const Model& model, const Device& device,
                           DType compute) {
  const ShardBytes bytes =
      shard_bytes(model, wish.holding, held_type(model), compute, wish.optimizer, wish.sums_apart);
  MemoryPlan plan;
  plan.weights = bytes.weights;
  plan.masters = bytes.masters;
  plan.gradients = bytes.gradients;
  plan.moments = bytes.moments;
  plan.host = bytes.host;
  plan.free = static_cast<double>(device.free_memory());
  const ShardPlace& place = wish.holding.place;
  if (place.ranks > 1 && place.stage > 0 && place.rank == 0) {
    const ShardBytes whole = shard_bytes(model, {}, DType::f32, DType::f32, wish.optimizer, false);
    plan.gathered = whole.weights + (wish.saves ? whole.moments : 0);
  }
  plan.on_host = device.kind() == DeviceKind::cpu;
  if (plan.on_host) {
    plan.free /= wish.ranks_here;
    plan.taken = taken_already();
  }
  plan.host_free = static_cast<double>(available_memory());
  plan.device = device.name();
  plan.eval_tokens = wish.eval_tokens;
  return plan;
}

}  // namespace

std::string MemoryPlan::line() const {
  const auto part = [](const char* name, double bytes) {
    return bytes > 0 ? fmt::format(", {} {}", name, human_bytes(bytes)) : std::string();
  };
  std::string batch = fmt::format("{} tokens", with_commas(batch_tokens));
  if (policy.recompute != Recompute::none) {
    batch += fmt::format(", {} recomputed", name_of(policy.recompute));
  }
  return fmt::format(
      "memory: {} of {} free: weights {}{}{}{}{} ({}){}{}{}{}{}", human_bytes(needed()),
      human_bytes(free), human_bytes(weights), part("masters", masters), part("moments", moments),
      part("gradients", gradients), part("activations", activations), batch,
      part("workspace", workspace), part("caches of answers", caches),
      part("offloaded to the host", host), part("a copy while saving", copy + gathered),
      taken > 0 ? fmt::format("; the process holds {} at most", human_bytes(peak())) : "");
}

namespace {

// Of what layers keep of the texts that the model writes.
double cached_bytes(const Model& model, DType compute, const MemoryWish& wish) {
  double bytes = 0;
  if (wish.cached_tokens > 0) {
    for (const auto& layer :
         cache_specs(model.config, {wish.cached_tokens, wish.cached_texts}, compute)) {
      for (const CacheSpec& spec : layer) {
        bytes += static_cast<double>(bytes_of(spec.dtype, spec.shape));
      }
    }
  }
  return bytes;
}

}  // namespace

MemoryPlan estimate_memory(const MemoryWish& wish, const Model& model, const Device& device,
                           DType compute, bool weights_loaded) {
  const Target target = device.target(compute);
  MemoryPlan plan = standing_memory(wish, model, device, compute);
  const double offloaded = plan.host;
  plan.weights_loaded = weights_loaded;
  plan.batch_tokens = wish.longest(wish.rows);
  const int64_t most = std::max(plan.batch_tokens, plan.eval_tokens);
  const ProgramBytes eval =
      program_bytes(model, target, plan.eval_tokens, wish.loss, false, false, {});
  const auto inputs = 2.0 * static_cast<double>(input_bytes(program_size(
                                device.kind(), std::max<int64_t>(most, 1), most, most)));
  const double writing = writing_bytes(model, target, wish);
  plan.caches = cached_bytes(model, compute, wish);
  const bool talks = device.kind() != DeviceKind::cpu && wish.holding.place.ranks > 1;
  for (const MemoryPolicy policy : policies_of(wish, device.kind())) {
    const ProgramBytes train =
        program_bytes(model, target, plan.batch_tokens, wish.loss, wish.noise, true, policy);
    plan.policy = policy;
    plan.activations = std::max({train.device, eval.device, writing}) + inputs;
    plan.workspace = static_cast<double>(device.overhead()) +
                     static_cast<double>(workspace_bytes(const_cast<Device&>(device), model.config,
                                                         compute, most)) +
                     train.recorded + eval.recorded +
                     (device.kind() == DeviceKind::cpu ? cpu_workspace(wish, device, most) : 0.0) +
                     (talks ? static_cast<double>(kCommunicatorBytes) : 0.0);
    plan.host = offloaded + train.host;
    if (plan.fits()) {
      break;
    }
  }
  if (wish.saves && plan.on_host && plan.gathered == 0) {
    const double bytes = plan.weights + plan.masters + plan.moments;
    const bool room = is_room_for_copy(plan.free - plan.needed(), bytes, device.kind());
    plan.copy = room ? bytes : 0;
  }
  return plan;
}

namespace {

bool has_packed_base(const Model& model) {
  return std::ranges::any_of(
      model.frozen, [](const ParamSpec& spec) { return spec.stored && is_packed(*spec.stored); });
}

// QLoRA with this model, and how it is asked for.
std::pair<Model, std::string> on_four_bits(const Model& model) {
  const char* const flags = "--load_in_4bit --use_bnb_nested_quant";
  Model shape = with_packed_base(model, DType::nf4_nested);
  shape.trained_type = DType::bf16;
  return {std::move(shape), model.adapters.empty() ? fmt::format("--use_peft {}", flags) : flags};
}

}  // namespace

bool only_looks_up_embeddings(const Model& model) {
  return model.head_name() != kEmbeddingWeight &&
         std::ranges::any_of(model.frozen,
                             [](const ParamSpec& spec) { return spec.name == kEmbeddingWeight; });
}

std::string fitting_settings(const MemoryWish& wish, const Model& model, const Device& device,
                             DType compute, bool weights_loaded) {
  std::vector<std::string> found;
  const auto attempt_with = [&](const Model& shape, const MemoryWish& other,
                                const std::string& flags) {
    const MemoryPlan plan = estimate_memory(other, shape, device, compute, weights_loaded);
    if (plan.fits()) {
      found.push_back(fmt::format("{} ({})", flags, human_bytes(plan.needed())));
    }
    return plan.fits();
  };
  const auto attempt = [&](const MemoryWish& other, const std::string& flags) {
    return attempt_with(model, other, flags);
  };
  std::vector<MemoryPolicy> policies(std::begin(kPolicies), std::end(kPolicies));
  if (device.kind() != DeviceKind::cpu) {
    policies.emplace_back(Recompute::block, true);
  }
  for (const MemoryPolicy policy : policies) {
    MemoryWish other = wish;
    other.recompute = name_of(policy.recompute);
    other.offload_activations = policy.offload;
    attempt(other, flags_of(policy));
  }
  if (const std::string name = eight_bit_name(wish.optimizer); !name.empty()) {
    MemoryWish other = wish;
    other.optimizer.format = StateFormat::block8;
    attempt(other, "--optim " + name);
    other.recompute = name_of(policies.back().recompute);
    other.offload_activations = policies.back().offload;
    attempt(other, "--optim " + name + " " + flags_of(policies.back()));
  }
  const bool can_offload = device.kind() != DeviceKind::cpu && !wish.holding.offload_optimizer;
  if (can_offload) {
    MemoryWish other = wish;
    other.holding.offload_optimizer = true;
    attempt(other, "--offload_optimizer");
    other.recompute = name_of(policies.back().recompute);
    other.offload_activations = policies.back().offload;
    attempt(other, "--offload_optimizer " + flags_of(policies.back()));
  }
  if (device.kind() != DeviceKind::cpu && wish.holding.place.stage < 3 &&
      !wish.holding.offload_embeddings && only_looks_up_embeddings(model)) {
    MemoryWish other = wish;
    other.holding.offload_embeddings = true;
    attempt(other, "--offload_embeddings");
    other.recompute = name_of(policies.back().recompute);
    other.offload_activations = policies.back().offload;
    attempt(other, "--offload_embeddings " + flags_of(policies.back()));
  }
  // What is left is less at a time: first of rows, with every remedy for what stays.
  MemoryWish smaller = wish;
  const MemoryPolicy last = policies.back();
  for (const std::string& recompute : {wish.recompute, std::string(name_of(last.recompute))}) {
    smaller.recompute = recompute;
    smaller.offload_activations =
        recompute != wish.recompute ? last.offload : wish.offload_activations;
    const std::string also = recompute != wish.recompute ? " " + flags_of(last) : "";
    for (smaller.rows = wish.rows / 2; smaller.rows >= 1; smaller.rows /= 2) {
      const std::string flags = fmt::format(
          "--per_device_train_batch_size {} --gradient_accumulation_steps {}{}", smaller.rows,
          (wish.rows * wish.accumulation + smaller.rows - 1) / smaller.rows, also);
      if (attempt(smaller, flags)) {
        break;
      }
    }
  }
  if (found.empty()) {
    smaller.rows = 1;
    for (int64_t length = wish.longest(1) / 2; length >= 64; length /= 2) {
      smaller.longest = [length](int64_t rows) { return length * rows; };
      if (attempt(smaller, fmt::format("--max_length {} --per_device_train_batch_size 1 {}", length,
                                       flags_of(last)))) {
        break;
      }
    }
  }
  if (!weights_loaded && !has_packed_base(model)) {
    const auto [shape, flags] = on_four_bits(model);
    MemoryWish other = wish;
    if (!attempt_with(shape, other, flags)) {
      other.recompute = name_of(policies.back().recompute);
      other.offload_activations = policies.back().offload;
      attempt_with(shape, other, flags + " " + flags_of(policies.back()));
    }
  }
  return fmt::format("{}", fmt::join(found, ", or "));
}

std::string cheaper_policy(const MemoryWish& wish, const MemoryPlan& plan, const Model& model,
                           const Device& device, DType compute, bool weights_loaded) {
  if (wish.recompute == "auto" || plan.policy == MemoryPolicy{Recompute::none}) {
    return "";
  }
  MemoryWish free_choice = wish;
  free_choice.recompute = "auto";
  free_choice.offload_activations = false;
  const MemoryPlan other = estimate_memory(free_choice, model, device, compute, weights_loaded);
  const bool cheaper = other.policy.recompute < plan.policy.recompute || plan.policy.offload;
  return other.fits() && cheaper
             ? fmt::format("{} ({})", flags_of(other.policy), human_bytes(other.needed()))
             : "";
}

MemoryPlan plan_run(const TrainOptions& options, const MemoryWish& wish, const Model& model,
                    const Device& device, DType compute, const Logger& logger) {
  if (options.activation_offloading && device.kind() == DeviceKind::cpu) {
    logger.note("activation_offloading: on the CPU they are in its memory already");
  }
  if ((options.sharding.offload_optimizer || options.sharding.offload_param) &&
      device.kind() == DeviceKind::cpu) {
    logger.note("offload_optimizer, offload_param: on the CPU all is in its memory already");
  }
  if (options.sharding.offload_embeddings && device.kind() == DeviceKind::cpu) {
    logger.note("offload_embeddings: on the CPU the table is in its memory already");
  }
  const MemoryPlan plan = estimate_memory(wish, model, device, compute);
  logger.note(plan.line());
  if (plan.fits()) {
    const std::string cheaper = cheaper_policy(wish, plan, model, device, compute);
    if (!cheaper.empty()) {
      logger.note(fmt::format("memory: {} fits too, is faster and gives the same bits", cheaper));
    }
    return plan;
  }
  const bool host = !plan.on_host && plan.needed() <= plan.free;
  Error error("G010",
              fmt::format("this run needs {} of the {}, of which {} are free",
                          human_bytes(host ? plan.host + plan.gathered
                                           : plan.needed() + (plan.on_host ? plan.gathered : 0)),
                          host ? "host's memory" : "memory of " + plan.device,
                          human_bytes(host ? plan.host_free : plan.free)));
  const std::string fitting = fitting_settings(wish, model, device, compute);
  throw error.hint(
      fitting.empty()
          ? fmt::format("no setting makes it fit: weights, optimizer and gradients alone take {}; "
                        "use a smaller model or a larger device",
                        human_bytes(plan.needed() - plan.activations))
          : "what fits: " + fitting);
}

int64_t fitting_batch_size(const TrainOptions& options, const Model& model, const Device& device,
                           DType compute, const Holding& holding, const PreparedDataset& train,
                           const PreparedDataset* eval, const Logger& logger, int ranks_here) {
  const int64_t asked = options.per_device_train_batch_size;
  MemoryWish wish = memory_wish(options, holding, train, eval, ranks_here);
  for (; wish.rows >= 1; wish.rows = static_cast<int64_t>(static_cast<double>(wish.rows) * 0.9)) {
    if (estimate_memory(wish, model, device, compute).fits()) {
      if (wish.rows != asked) {
        logger.note(fmt::format("auto_find_batch_size: {} rows a batch fit, of the {} asked for",
                                wish.rows, asked));
      }
      return wish.rows;
    }
  }
  return asked;
}

void check_lengths(const PreparedDataset& data, const ModelConfig& config) {
  if (data.bound()) {
    return;  // BatchRunner looks at each batch
  }
  for (int64_t i = 0; i < data.size(); ++i) {
    if (data.length(i) <= config.max_positions) {
      continue;
    }
    const Example example = data.example(i);
    const int64_t longest =
        example.documents.empty() ? data.length(i) : *std::ranges::max_element(example.documents);
    if (longest > config.max_positions) {
      throw Error("M037",
                  fmt::format("row {} of the prepared data has {} tokens, but the model has "
                              "{} positions",
                              i, longest, config.max_positions))
          .hint(fmt::format("add --max_length {}", config.max_positions));
    }
  }
}

}  // namespace sft
