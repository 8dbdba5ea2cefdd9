#include "settings/nested_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/error.h"
#include "core/strings.h"
#include "model/quantisation.h"
#include "settings/train_options.h"

namespace sft {

namespace {

// What a key does here.
enum class KeyUse { works, inert, refused };

struct Key {
  const char* name;
  KeyUse use;
  const char* reason;  // why it is inert or refused
};

constexpr Key kDatasetKeys[] = {{"skip_prepare_dataset", KeyUse::works, ""}};

constexpr const char* kOneWay = "models are built and read in one way here";
constexpr Key kModelKeys[] = {
    {"dtype", KeyUse::works, ""},
    {"torch_dtype", KeyUse::works, ""},
    {"revision", KeyUse::works, ""},
    {"attn_implementation", KeyUse::inert, "one implementation serves every model"},
    {"trust_remote_code", KeyUse::inert, "code from a model's folder is never run"},
    {"use_cache", KeyUse::inert, "training never keeps keys and values"},
    {"device_map", KeyUse::inert, kOneWay},
    {"low_cpu_mem_usage", KeyUse::inert, kOneWay},
    {"use_safetensors", KeyUse::inert, kOneWay},
    {"use_kernels", KeyUse::inert, kOneWay},
    {"output_loading_info", KeyUse::inert, kOneWay},
    {"quantization_config", KeyUse::works, ""},
    {"cache_dir", KeyUse::refused, "HF_HOME says where the cache is"},
    {"token", KeyUse::refused, "HF_TOKEN has the token"},
    {"local_files_only", KeyUse::refused, "HF_HUB_OFFLINE=1 keeps off the network"},
    {"subfolder", KeyUse::refused, "a model is a whole folder"},
    {"variant", KeyUse::refused, "a model has one set of weights"},
    {"gguf_file", KeyUse::refused, "--model_name_or_path takes the file itself"},
};

constexpr Key kAcceleratorKeys[] = {
    {"use_seedable_sampler", KeyUse::works, ""},
    {"split_batches", KeyUse::refused,
     "--per_device_train_batch_size says how many rows a rank has"},
    {"even_batches", KeyUse::refused,
     "all ranks take part in every step, so all have a full batch"},
    {"dispatch_batches", KeyUse::inert, "each rank makes its own batches, and they are the same"},
    {"non_blocking", KeyUse::inert, "copies never wait"},
    {"gradient_accumulation_kwargs", KeyUse::refused,
     "--gradient_accumulation_steps says how often gradients are used"},
    {"use_configured_state", KeyUse::inert, "there is one state"},
};
// The values that those which are refused may have all the same: what accelerate has without them.
const Json& harmless_values() {
  static const Json kValues = {{"split_batches", false}, {"even_batches", true}};
  return kValues;
}

Error wrong(const char* option, const std::string& key, const Json& value, const char* wanted) {
  return {"C076",
          fmt::format("--{}: {} must be {}, it is {}", option, key, wanted, to_text(value))};
}

// Calls `each` with every key that is there and does something, after checking all.
template <class Keys, class Each>
void read_keys(TrainOptions& o, const char* option, const Json& values, const Keys& keys,
               bool others, Each each) {
  if (values.is_null()) {
    return;
  }
  if (!values.is_object()) {
    throw Error("C076", fmt::format("--{} is a mapping of names to values, not {}", option,
                                    to_text(values)));
  }
  for (const auto& [name, value] : values.items()) {
    const auto found = std::ranges::find_if(keys, [&](const Key& key) { return name == key.name; });
    if (found == std::end(keys)) {
      if (others) {
        continue;
      }
      std::vector<std::string> known;
      for (const Key& key : keys) {
        known.emplace_back(key.name);
      }
      throw Error("C075", fmt::format("--{} has no key \"{}\"", option, name))
          .hint(fmt::format("the keys are {}", fmt::join(known, ", ")));
    }
    const bool harmless = value.is_null() || harmless_values().value(name, Json()) == value;
    if (found->use == KeyUse::refused && !harmless) {
      throw Error("C077", fmt::format("--{}: {} {} is not taken: {}", option, name, to_text(value),
                                      found->reason));
    }
    if (found->use == KeyUse::inert) {
      o.details.push_back(
          fmt::format("--{}: {} has no effect here: {}", option, name, found->reason));
    }
    if (found->use == KeyUse::works && !value.is_null()) {
      each(name, value);
    }
  }
}

void resolve_dataset_kwargs(TrainOptions& o) {
  read_keys(o, "dataset_kwargs", o.data.dataset_kwargs, kDatasetKeys, false,
            [](const std::string& name, const Json& value) {
              if (!value.is_boolean()) {
                throw wrong("dataset_kwargs", name, value, "true or false");
              }
            });
  if (!o.data.skips_preparation()) {
    return;
  }
  DataOptions& d = o.data;
  std::vector<std::string> without;
  for (const auto& [given, name] :
       {std::pair{d.packing || d.packs_eval(), "packing"},
        {d.shuffle_dataset, "shuffle_dataset"},
        {o.is_set("max_length") && d.max_length.has_value(), "max_length"}}) {
    if (given) {
      without.emplace_back(name);
    }
  }
  if (!without.empty()) {
    o.notes.push_back(fmt::format("skip_prepare_dataset: rows are taken as they are, so {} {}",
                                  fmt::join(without, ", "),
                                  without.size() == 1 ? "does nothing" : "do nothing"));
  }
  d.padding_free = d.padding_free || (d.packing && d.packing_strategy != "wrapped");
  d.packing = d.shuffle_dataset = false;
  d.eval_packing = false;
  d.max_length.reset();
}

void resolve_model_init_kwargs(TrainOptions& o) {
  const char* option = "model_init_kwargs";
  read_keys(o, option, o.model.model_init_kwargs, kModelKeys, true,
            [&](const std::string& name, const Json& value) {
              if (name == "quantization_config") {
                return;  // model/quantisation.h
              }
              if (!value.is_string()) {
                throw wrong(option, name, value, "a word");
              }
              if (name == "revision") {
                o.model.model_revision = value.get<std::string>();
                return;
              }
              const std::string type = value.get<std::string>();
              const std::string plain = type.starts_with("torch.") ? type.substr(6) : type;
              for (const char* known : {"auto", "bfloat16", "float16", "float32"}) {
                if (plain == known) {
                  o.model.dtype = plain;
                  return;
                }
              }
              throw wrong(option, name, value, "auto, bfloat16, float16 or float32");
            });
}

void resolve_accelerator_config(TrainOptions& o) {
  read_keys(o, "accelerator_config", o.distributed.accelerator_config, kAcceleratorKeys, false,
            [](const std::string& name, const Json& value) {
              if (!value.is_boolean()) {
                throw wrong("accelerator_config", name, value, "true or false");
              }
            });
}

}  // namespace

Json config_overrides(const ModelOptions& options) {
  Json out = Json::object();
  for (const auto& [name, value] : options.model_init_kwargs.items()) {
    if (std::ranges::none_of(kModelKeys, [&](const Key& key) { return name == key.name; })) {
      out[name] = value;
    }
  }
  return out;
}

Sampling sampling_of(const TrainOptions& options) {
  const Sampling sampling = parse_sampling(options.data.train_sampling_strategy);
  const Json& config = options.distributed.accelerator_config;
  const bool unseeded =
      config.is_object() && config.value("use_seedable_sampler", Json(true)) == false;
  return sampling == Sampling::random && unseeded ? Sampling::unseeded : sampling;
}

void resolve_nested(TrainOptions& options) {
  resolve_dataset_kwargs(options);
  resolve_model_init_kwargs(options);
  BnbConfig::from_options(options.model);  // C201, C202
  resolve_accelerator_config(options);
}

}  // namespace sft
