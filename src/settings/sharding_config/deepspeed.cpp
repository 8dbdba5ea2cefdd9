#include "settings/sharding_config/deepspeed.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/strings.h"
#include "options/values.h"
#include "settings/train_options.h"

namespace sft {
namespace {

// Every value of the JSON beside its flag; those that differ are told together.
class Comparison {
 public:
  explicit Comparison(const CheckedConfig& config) : config_(config) {}

  void add(std::string_view key, const Json& wanted, std::string_view flag) {
    const Json value = config_.get(key);
    if (!value.is_null() && value != "auto" && !equal(value, wanted)) {
      lines_.push_back(
          fmt::format("{} is {}, {} is {}", key, option_text(value), flag, option_text(wanted)));
    }
  }

  void finish() const {
    if (lines_.empty()) {
      return;
    }
    throw Error("C124",
                fmt::format("{} differs from the flags in {} value{}: {}", config_.name(),
                            lines_.size(), lines_.size() == 1 ? "" : "s", fmt::join(lines_, "; ")))
        .hint("write \"auto\" in the JSON to take the flag's value, or give the flag the JSON's");
  }

 private:
  static bool equal(const Json& a, const Json& b) {
    if (a.is_array() && b.is_array() && a.size() == b.size()) {
      for (size_t i = 0; i < a.size(); ++i) {
        if (!equal(a[i], b[i])) {
          return false;
        }
      }
      return true;
    }
    return a.is_number() && b.is_number() ? a.get<double>() == b.get<double>() : a == b;
  }

  const CheckedConfig& config_;
  std::vector<std::string> lines_;
};

constexpr const char* kZero = "zero_optimization.";

void check_batch(const CheckedConfig& c, const char* key) {
  const Json value = c.get(key);
  if (value.is_number() && value.get<double>() < 1) {
    throw Error("C123", fmt::format("{}: {} is {}, it must be at least 1", c.name(), key,
                                    option_text(value)));
  }
}

void compare_flags(const TrainOptions& o, const CheckedConfig& c, int64_t world) {
  Comparison flags(c);
  flags.add("train_micro_batch_size_per_gpu", o.per_device_train_batch_size,
            "per_device_train_batch_size");
  flags.add("gradient_accumulation_steps", o.gradient_accumulation_steps,
            "gradient_accumulation_steps");
  flags.add("train_batch_size",
            o.per_device_train_batch_size * o.gradient_accumulation_steps * world,
            fmt::format("per_device_train_batch_size x gradient_accumulation_steps x {} rank{}",
                        world, world == 1 ? "" : "s"));
  flags.add("gradient_clipping", o.optim.max_grad_norm, "max_grad_norm");
  flags.add("optimizer.params.lr", o.optim.learning_rate, "learning_rate");
  flags.add("optimizer.params.betas", Json::array({o.optim.adam_beta1, o.optim.adam_beta2}),
            "adam_beta1, adam_beta2");
  flags.add("optimizer.params.eps", o.optim.adam_epsilon, "adam_epsilon");
  flags.add("optimizer.params.weight_decay", o.optim.weight_decay, "weight_decay");
  flags.add("scheduler.params.warmup_max_lr", o.optim.learning_rate, "learning_rate");
  if (o.max_steps > 0) {
    flags.add("scheduler.params.total_num_steps", o.max_steps, "max_steps");
  }
  if (o.optim.warmup_steps >= 1) {
    flags.add("scheduler.params.warmup_num_steps", o.optim.warmup_steps, "warmup_steps");
  }
  flags.add("fp16.enabled", o.fp16, "fp16");
  if (o.bf16) {
    flags.add("bf16.enabled", *o.bf16, "bf16");
  }
  if (o.is_set("zero_stage")) {
    flags.add("zero_optimization.stage", o.sharding.zero_stage, "zero_stage");
  }
  if (o.is_set("overlap_comm")) {
    flags.add("zero_optimization.overlap_comm", o.sharding.overlap_comm, "overlap_comm");
  }
  flags.finish();
}

void apply_optimizer(TrainOptions& o, const CheckedConfig& c) {
  if (c.has("optimizer") && !c.has("optimizer.type")) {
    throw Error("C129", fmt::format("{}: optimizer has no type", c.name()));
  }
  if (c.has("optimizer") && o.optim.weight_decay > 0) {
    o.notes.push_back(fmt::format(
        "{}: weight decay leaves out norms and biases, as it does without a JSON", c.name()));
  }
  if (!c.has("gradient_clipping")) {
    o.notes.push_back(fmt::format("{} has no gradient_clipping: max_grad_norm {} holds", c.name(),
                                  o.optim.max_grad_norm));
  }
}

// DeepSpeed's schedules are entries of our own table; "auto" is what they do without an argument.
void apply_schedule(TrainOptions& o, const CheckedConfig& c) {
  if (!c.has("scheduler")) {
    return;
  }
  const std::string type = c.text("scheduler.type", "");
  const std::string name = type == "WarmupLR"         ? "deepspeed_warmup"
                           : type == "WarmupDecayLR"  ? "deepspeed_warmup_decay"
                           : type == "WarmupCosineLR" ? "deepspeed_warmup_cosine"
                                                      : "";
  if (name.empty()) {
    throw Error("C129", fmt::format("{}: scheduler has no type", c.name()));
  }
  Json kwargs = Json::object();
  const Json params = c.get("scheduler.params");
  for (const auto& [key, value] : params.items()) {
    if (value != "auto" && !value.is_null() && key != "warmup_max_lr" &&
        key != "last_batch_iteration") {
      kwargs[key] = value;
    }
  }
  if (!c.has("scheduler.params.warmup_num_steps")) {
    kwargs["warmup_num_steps"] = 1000;  // DeepSpeed's default, where "auto" would be the flags'
  }
  if (type != "WarmupLR" && !c.has("scheduler.params.total_num_steps")) {
    throw Error("C129", fmt::format("{}: {} needs scheduler.params.total_num_steps, a number or "
                                    "\"auto\"",
                                    c.name(), type));
  }
  if (o.is_set("lr_scheduler_type") && o.optim.lr_scheduler_type != name) {
    o.notes.push_back(
        fmt::format("{}: its scheduler {} runs, --lr_scheduler_type {} does not count", c.name(),
                    type, o.optim.lr_scheduler_type));
  }
  o.optim.lr_scheduler_type = name;
  o.optim.lr_scheduler_kwargs = std::move(kwargs);
}

void apply_precision(TrainOptions& o, const CheckedConfig& c) {
  const bool bf16 = c.flag("bf16.enabled", false);
  if (bf16 && c.flag("fp16.enabled", false)) {
    throw Error("C128", fmt::format("{} enables bf16 and fp16; only one can run", c.name()));
  }
  if (c.get("bf16.enabled").is_boolean()) {
    o.bf16 = bf16;
  }
  const std::optional<bool> wanted = o.wants_bf16();
  o.notes.push_back(fmt::format(
      "{}: {}; masters, moments and sums are float32", c.name(),
      o.fp16                ? "float16"
      : !wanted.has_value() ? "no precision is asked for: bfloat16 where the device has it, "
                              "else float32"
      : *wanted             ? "bfloat16"
                            : "float32"));
}

// Whether state goes to host memory: `least_stage` is the first that DeepSpeed takes it at.
bool offloads(const CheckedConfig& c, const std::string& section, int64_t stage,
              int64_t least_stage) {
  const std::string key = kZero + section + ".device";
  const std::string device = c.text(key, "none");
  if (device == "nvme") {
    throw Error("C125", fmt::format("{}: {} is nvme, and state is kept on the device or in host "
                                    "memory",
                                    c.name(), key));
  }
  if (device == "none") {
    return false;
  }
  if (stage < least_stage) {
    throw Error("C128", fmt::format("{}: {}{} needs stage {} or more, and stage is {}", c.name(),
                                    kZero, section, least_stage, stage));
  }
  return true;
}

int64_t whole_stage(const CheckedConfig& c) {
  const double stage = c.number("zero_optimization.stage", 0);
  if (stage < 0 || stage > 3) {
    throw Error("C123", fmt::format("{}: zero_optimization.stage is {}, it goes from 0 to 3",
                                    c.name(), stage));
  }
  return static_cast<int64_t>(stage);
}

int64_t sharding_group(const CheckedConfig& c, int64_t stage) {
  const auto hpz = static_cast<int64_t>(c.number("zero_optimization.zero_hpz_partition_size", 1));
  const auto mics = static_cast<int64_t>(c.number("zero_optimization.mics_shard_size", -1));
  if (hpz > 1 && mics > 0) {
    throw Error("C128", fmt::format("{} has zero_hpz_partition_size {} and mics_shard_size {}, and "
                                    "both say how large a group shares one copy",
                                    c.name(), hpz, mics));
  }
  const int64_t group = hpz > 1 ? hpz : mics > 0 ? mics : 0;
  if (group > 0 && stage != 3) {
    throw Error("C128",
                fmt::format("{}: hybrid sharding needs stage 3, and stage is {}", c.name(), stage));
  }
  return group;
}

void apply_zero(TrainOptions& o, const CheckedConfig& c) {
  ShardingOptions& s = o.sharding;
  s.zero_stage = whole_stage(c);
  s.offload_optimizer |= offloads(c, "offload_optimizer", s.zero_stage, 1);
  s.offload_param |= offloads(c, "offload_param", s.zero_stage, 3);
  s.zero_shard_group = sharding_group(c, s.zero_stage);
  s.overlap_comm = c.flag("zero_optimization.overlap_comm", s.overlap_comm);
}

}  // namespace

void apply_deepspeed(TrainOptions& o, const NamedJson& json, int64_t world) {
  Json values = json.value;
  if (values.contains("zero_optimization") && values["zero_optimization"].is_boolean()) {
    const bool on = values["zero_optimization"].get<bool>();
    values["zero_optimization"] = Json{{"stage", on ? 1 : 0}};
    o.notes.push_back(fmt::format("{}: zero_optimization {} is an old form of stage {}", json.name,
                                  on, on ? 1 : 0));
  }
  const CheckedConfig c =
      check_config(values, json.name, deepspeed_keys(), deepspeed_renamed_keys());
  for (const char* key :
       {"train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"}) {
    check_batch(c, key);
  }
  compare_flags(o, c, world);
  apply_optimizer(o, c);
  apply_schedule(o, c);
  apply_precision(o, c);
  apply_zero(o, c);
  o.notes.insert(o.notes.end(), c.renamed.begin(), c.renamed.end());
  if (!c.without_effect.empty()) {
    o.notes.push_back(
        fmt::format("{}: without effect here: {}", json.name, fmt::join(c.without_effect, ", ")));
  }
}

void check_deepspeed_steps(const TrainOptions& o, int64_t total_steps) {
  const std::string& name = o.optim.lr_scheduler_type;
  const Json& kwargs = o.optim.lr_scheduler_kwargs;
  if (o.distributed.deepspeed.is_null() || !name.starts_with("deepspeed_") ||
      !kwargs.contains("total_num_steps")) {
    return;
  }
  const double asked = kwargs["total_num_steps"].get<double>();
  if (asked != static_cast<double>(total_steps)) {
    throw Error("C124", fmt::format("the DeepSpeed JSON's scheduler.params.total_num_steps is {}, "
                                    "and the run has {} steps",
                                    asked, total_steps))
        .hint("write \"auto\" to take the run's");
  }
}

}  // namespace sft
