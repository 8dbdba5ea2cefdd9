#include "run/frozen_base.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <vector>

#include "core/error.h"
#include "core/strings.h"
#include "model/quantisation.h"
#include "train/memory_plan.h"

namespace sft {

namespace {

constexpr const char* kHead = "lm_head.weight";

// Only layers are quantised: experts that a tensor holds all of are no layers, in transformers
// neither.
bool is_layer(const std::string& weight) { return weight.ends_with(".weight"); }

std::string module_of(const std::string& weight) { return weight.substr(0, weight.rfind('.')); }

// "--load_in_4bit"
std::string asked_for(const ModelOptions& o) {
  return o.load_in_4bit   ? "--load_in_4bit"
         : o.load_in_8bit ? "--load_in_8bit"
                          : "quantization_config in --model_init_kwargs";
}

// How the base is kept already.
struct Kept {
  std::string name, words;  // of the model, of its format: "" where nothing is packed
  const BnbConfig* bnb = nullptr;
};

void check_one_format(const ModelOptions& o, const Kept& base, bool bnb, const Logger& log) {
  const bool fp8 = o.base_dtype == "fp8";
  if (bnb && fp8) {
    throw Error("C201", fmt::format("{} and --base_dtype fp8 exclude each other", asked_for(o)))
        .hint("leave one of the two out");
  }
  if (base.words.empty() || (!bnb && !fp8)) {
    return;
  }
  const std::string asked = bnb ? asked_for(o) : "--base_dtype fp8";
  if (bnb && base.bnb != nullptr) {
    log.warn(fmt::format("{} means nothing here: {} is quantised already ({}), and stays as it is",
                         asked, base.name, base.words));
    return;
  }
  throw Error("C201", fmt::format("{}, and {} is quantised already ({}): it would lose twice",
                                  asked, base.name, base.words))
      .hint(fmt::format("leave {} out: the base is then kept as it is", asked));
}

}  // namespace

StoredType frozen_base(Model& shape, const ModelOptions& o, const ModelSource* source,
                       const ConfigQuantisation& alone, const Logger& log) {
  const std::optional<BnbConfig> asked = BnbConfig::from_options(o);
  const Kept base = source == nullptr
                        ? Kept{o.model_name_or_path.value_or(""), alone.words(), alone.bnb()}
                        : Kept{source->name(), source->quantisation(), source->bnb()};
  check_one_format(o, base, asked.has_value(), log);
  const BnbConfig* const there = base.bnb;
  if (const BnbConfig* const bnb = there != nullptr ? there : asked ? &*asked : nullptr) {
    shape.int8_threshold = bnb->threshold;
    shape.trained_type = DType::bf16;  // as TRL casts adapters on such a base
  }
  const std::optional<DType> plain =
      o.dtype == "bfloat16" ? std::optional(DType::bf16) : std::nullopt;
  shape.packed_from = plain.value_or(DType::f32);
  if (there == nullptr && asked) {
    return [bnb = *asked, plain](const std::string& name) -> std::optional<DType> {
      if (is_layer(name) && bnb.quantises(module_of(name))) {
        return bnb.type;
      }
      return name == kHead ? std::nullopt : plain;
    };
  }
  const DType otherwise = o.base_dtype == "fp8" ? DType::f8_rows : DType::f32;
  return [source, alone, plain, otherwise](const std::string& name) -> std::optional<DType> {
    const std::optional<DType> stored =
        source == nullptr ? alone.type_of(name) : source->stored_type(name);
    if (stored) {
      return stored;
    }
    if (name == kHead) {
      return std::nullopt;
    }
    return otherwise == DType::f32 || !is_layer(name) ? plain : std::optional(otherwise);
  };
}

std::string base_words(const Model& model, DType compute) {
  std::map<std::string_view, int64_t> packed;
  double bytes = 0;
  for (const ParamSpec& spec : model.frozen) {
    const Tensor tensor{nullptr, spec.shape, read_type(spec, compute)};
    bytes += static_cast<double>(tensor.bytes());
    if (is_packed(tensor.dtype)) {
      packed[name_of(tensor.dtype)] += spec.shape.elements();
    }
  }
  std::vector<std::string> words;
  for (const auto& [name, values] : packed) {
    words.push_back(fmt::format(
        "{} ({:.1f} %)", name,
        100.0 * static_cast<double>(values) / static_cast<double>(count_parameters(model.frozen))));
  }
  return words.empty() ? ""
                       : fmt::format("{}, {} in all", fmt::join(words, ", "), human_bytes(bytes));
}

void say_products(const Model& model, const Device& device, const Logger& log) {
  const bool fp8 = std::ranges::any_of(
      model.frozen, [](const ParamSpec& spec) { return spec.stored == DType::f8_rows; });
  if (fp8 && device.kind() == DeviceKind::cpu) {
    log.note(
        "--base_dtype fp8 on a CPU: what the codes stand for is multiplied, in float32; it saves "
        "memory, not time");
  }
}

void check_offloaded_embeddings(const Model& model) {
  if (only_looks_up_embeddings(model)) {
    return;
  }
  const bool frozen = std::ranges::any_of(
      model.frozen, [](const ParamSpec& spec) { return spec.name == kEmbeddingWeight; });
  throw Error("C203",
              fmt::format("--offload_embeddings keeps a frozen table in the host's memory, and "
                          "embed_tokens {}",
                          frozen ? "is the head too, which reads all of it" : "is trained"))
      .hint(frozen ? "leave it out; --activation_offloading saves memory too"
                   : "leave it out, or train adapters without the table: --use_peft");
}

void require_adapters(const ModelOptions& o, const ModelSource* source) {
  if (o.use_peft) {
    return;
  }
  const bool bnb = BnbConfig::from_options(o).has_value();
  if (bnb || o.base_dtype == "fp8") {
    throw Error("C200",
                fmt::format("{} keeps the base of adapters in fewer bits, and there are none "
                            "on this model",
                            bnb ? asked_for(o) : "--base_dtype fp8"))
        .hint("add adapters: --use_peft in training, --adapter DIR in generation");
  }
  if (source != nullptr && source->bnb() != nullptr) {
    throw Error("C200", fmt::format("{} is quantised ({}), and such weights cannot be trained",
                                    source->name(), source->quantisation()))
        .hint("add --use_peft: adapters are trained on it, as it is");
  }
}

}  // namespace sft
