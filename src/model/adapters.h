// Low-rank adapters on a model and what is trained beside them, in PEFT's terms and names: the
// parameters they add, and the numbers they start with.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/adapter_plan.h"

namespace sft {

// The type that a linear layer, or the head, is kept in while it is frozen (ParamSpec::stored), by
// its weight's published name.
using StoredType = std::function<std::optional<DType>(const std::string& name)>;

// Freezes all of the model but what the plan says, and gives the targets their adapters.
void add_adapters(Model& model, const AdapterPlan& plan, const LoraConfig& config,
                  const StoredType& stored = nullptr);

// The same model with its frozen linear layers kept in `type`, but for those that are packed
// already; of one that is trained whole, with the adapters that TRL puts on it by default.
Model with_packed_base(const Model& model, DType type);

// What the name of a tensor in an adapter's file begins with.
inline constexpr std::string_view kAdapterPrefix = "base_model.model.";
// And what that of a magnitude ends with.
inline constexpr std::string_view kMagnitudeName = "lora_magnitude_vector";
// The published names of an adapter's tensors, as in adapter_model.safetensors: A, B and, with
// DoRA, the rows' magnitudes.
std::string tensor_a(const AdapterTarget& target);
std::string tensor_b(const AdapterTarget& target);
std::string tensor_magnitude(const AdapterTarget& target);
// Of trained rows of a table.
std::string tensor_tokens(const std::string& module);

// Of a table of words that an adapter's file holds beside it: one with an adapter, and one whose
// words are trained in part.
std::string base_tensor(const std::string& module);
std::string grown_tensor(const std::string& module);

// Names and shapes of all tensors of the adapter that a model has been given.
std::map<std::string, Shape> adapter_tensors(const Model& model);

// The first values of A and B by published name, as get_peft_model draws them after
// torch.manual_seed(seed) and `before` numbers for others. Those of PiSSA and OLoRA follow from the
// base (state/adapter_start.h); what pissa_niter begins with is drawn for it, by module: (min(in,
// out), rank).
struct AdapterDraws {
  std::map<std::string, std::vector<float>> values, starts;
};
AdapterDraws draw_adapters(const std::vector<AdapterTarget>& targets, const std::string& init,
                           uint64_t seed, uint64_t before = 0);

}  // namespace sft
