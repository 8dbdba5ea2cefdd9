// Low-rank adapters on a model's linear layers, in PEFT's terms and order: which layers have one,
// the parameters they add, and the numbers they start with.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "model/lora_config.h"
#include "model/model.h"

namespace sft {

// A layer with an adapter, by the name that transformers gives it.
struct AdapterTarget {
  std::string module;  // "model.layers.0.self_attn.q_proj"
  int64_t in = 0, out = 0;
  int64_t rank = 0;
  float scale = 1.0F;
};

// "q_proj" of "model.layers.0.self_attn.q_proj".
std::string last_name(const std::string& module);

// The layers that `config` means, in PEFT's order. C193 when there is none, naming what there is;
// C194 for an embedding or a head.
std::vector<AdapterTarget> find_targets(const Model& model, const LoraConfig& config);

// The type that a linear layer, or the head, is kept in while it is frozen (ParamSpec::stored), by
// its weight's published name.
using StoredType = std::function<std::optional<DType>(const std::string& name)>;

// Freezes all of the model and gives the targets their adapters, which are trained.
void add_adapters(Model& model, const std::vector<AdapterTarget>& targets, double dropout,
                  const StoredType& stored = nullptr);

// The same model with its frozen linear layers kept in `type`, but for those that are packed
// already; of one that is trained whole, with new adapters on `targets`.
Model with_packed_base(const Model& model, const std::vector<AdapterTarget>& targets, DType type);

// The published name of an adapter's tensor, as in adapter_model.safetensors.
std::string adapter_tensor(const std::string& module, char which);  // 'A' or 'B'
// What the name of a tensor in an adapter's file begins with.
inline constexpr std::string_view kAdapterPrefix = "base_model.model.";

// The first values of all adapters, as get_peft_model draws them after torch.manual_seed(seed): A
// uniform in +-1/sqrt(in) (He et al. 2015 with a = sqrt 5), B zero. By published name.
std::map<std::string, std::vector<float>> draw_adapters(const std::vector<AdapterTarget>& targets,
                                                        uint64_t seed);

}  // namespace sft
