#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "run/check/checks.h"
#include "run/check/known_models.h"

namespace sft {

namespace {

const std::vector<Reader> kTransformers{Reader::transformers4, Reader::transformers5,
                                        Reader::lm_eval};
const std::vector<Reader> kByArchitecture{Reader::vllm, Reader::sglang, Reader::llama_cpp,
                                          Reader::ollama};

// The theta of a rope where config.json has none, in transformers 4.
double default_theta(const std::string& model_type) {
  return model_type.starts_with("gemma3") ? 1e6 : 10000.0;
}

void check_names(const ModelFolder& folder, Findings& out) {
  const Json type = folder.config.get("model_type");
  const Json list = folder.config.get("architectures");
  const std::string architecture =
      list.is_array() && !list.empty() && list[0].is_string() ? list[0].get<std::string>() : "";
  if (!type.is_string()) {
    const KnownModel* known = known_by_architecture(architecture);
    Finding f{"model-type-missing", "config.json: model_type",
              "config.json has no model_type: nothing says of which family the model is",
              known != nullptr ? fmt::format("set model_type to {}", known->model_type)
                               : "set model_type to the family's name",
              for_all(Effect::refuses)};
    if (known != nullptr) {
      f.fix = {{"config.json", "model_type", known->model_type}};
    }
    out.push_back(std::move(f));
  } else if (const std::string meant = meant_type(type.get<std::string>()); !meant.empty()) {
    out.push_back({"model-type-unknown",
                   "config.json: model_type",
                   fmt::format("model_type is {}, which no reader knows", type.get<std::string>()),
                   fmt::format("set model_type to {}", meant),
                   for_all(Effect::refuses),
                   {{"config.json", "model_type", meant}}});
  }
  const KnownModel* by_type = type.is_string() ? known_by_type(type.get<std::string>()) : nullptr;
  if (architecture.empty()) {
    Finding f{"architectures-missing", "config.json: architectures",
              "config.json has no architectures, by which servers and converters choose their code",
              by_type != nullptr
                  ? fmt::format("set architectures to [\"{}\"]", by_type->architecture)
                  : "set architectures to the class of the model",
              effects({{Effect::refuses, kByArchitecture}})};
    if (by_type != nullptr) {
      f.fix = {{"config.json", "architectures", Json::array({by_type->architecture})}};
    }
    out.push_back(std::move(f));
  } else if (const std::string meant = meant_architecture(architecture); !meant.empty()) {
    out.push_back({"architecture-unknown",
                   "config.json: architectures",
                   fmt::format("architectures has {}, which servers and converters do not know",
                               architecture),
                   fmt::format("set architectures to [\"{}\"]", meant),
                   effects({{Effect::refuses, kByArchitecture}}),
                   {{"config.json", "architectures", Json::array({meant})}}});
  }
}

// Transformers 5 writes rope_parameters; transformers 4 and Ollama read rope_theta.
void check_rope(const ModelFolder& folder, Findings& out) {
  const Json old_form = folder.config.get("rope_theta");
  const Json parameters = folder.config.get("rope_parameters");
  const Json full = parameters.is_object() && parameters.contains("full_attention")
                        ? parameters["full_attention"]
                        : parameters;
  const Json new_form = full.is_object() ? full.value("rope_theta", Json()) : Json();
  const Json type = folder.config.get("model_type");
  if (!new_form.is_number()) {
    return;
  }
  const auto theta = new_form.get<double>();
  if (old_form.is_null()) {
    const bool usual = theta == default_theta(type.is_string() ? type.get<std::string>() : "") &&
                       full.value("rope_type", Json("default")) == "default";
    if (!usual) {
      out.push_back({"rope-old-form",
                     "config.json: rope_theta",
                     fmt::format("rope_theta ({}) stands in rope_parameters alone; older readers "
                                 "look for it at the top and take another",
                                 theta),
                     "write it in both places",
                     effects({{Effect::wrong, {Reader::transformers4, Reader::ollama}},
                              {Effect::warns, {Reader::sglang}}}),
                     {{"config.json", "rope_theta", new_form}}});
    }
    return;
  }
  if (old_form.is_number() && old_form.get<double>() != theta) {
    out.push_back(
        {"rope-forms-differ", "config.json: rope_theta, rope_parameters",
         fmt::format("rope_theta is {} at the top and {} in rope_parameters: transformers 4 "
                     "takes the one, transformers 5 the other",
                     old_form.get<double>(), theta),
         "find out which is right, and write it in both places",
         effects({{Effect::wrong, {Reader::transformers5, Reader::lm_eval, Reader::vllm}}})});
  }
}

void check_type(const ModelFolder& folder, Findings& out) {
  const Json now = folder.config.get("dtype");
  if (now.is_string() && folder.config.get("torch_dtype").is_null()) {
    out.push_back({"dtype-old-form",
                   "config.json: torch_dtype",
                   "dtype stands there alone; transformers before 4.56 reads torch_dtype and takes "
                   "float32 otherwise",
                   fmt::format("add torch_dtype {}", now.get<std::string>()),
                   effects({{Effect::warns, {Reader::transformers4}}}),
                   {{"config.json", "torch_dtype", now}}});
  }
}

// Who takes weights that are quantised so, in a form at least: as llama.cpp's converter, Ollama's
// and mlx-lm have it.
struct Quantisation {
  std::string_view method;
  bool by_llama_cpp, by_ollama, by_mlx;
};
constexpr std::array<Quantisation, 7> kQuantisations{{{"mxfp4", true, true, true},  // gpt-oss
                                                      {"gptq", true, false, true},
                                                      {"compressed-tensors", true, false, true},
                                                      {"modelopt", true, false, true},
                                                      {"bitnet", true, false, true},
                                                      {"fp8", true, false, false},
                                                      {"awq", false, false, true}}};

void check_quantisation(const ModelFolder& folder, Findings& out) {
  const Json settings = folder.config.get("quantization_config");
  if (!settings.is_object()) {
    return;
  }
  const Json given = settings.value("quant_method", Json());
  const auto method = given.is_string() ? given.get<std::string>() : "";
  const auto* const known = std::ranges::find(kQuantisations, method, &Quantisation::method);
  const bool of_gpt_oss = folder.config.get("model_type") == "gpt_oss";
  const bool taken = known != kQuantisations.end() && (method != "mxfp4" || of_gpt_oss);
  std::vector<Reader> refuse;
  for (const auto& [reader, takes] : {std::pair{Reader::llama_cpp, taken && known->by_llama_cpp},
                                      {Reader::ollama, taken && known->by_ollama},
                                      {Reader::mlx, taken && known->by_mlx}}) {
    if (!takes) {
      refuse.push_back(reader);
    }
  }
  if (refuse.empty()) {
    return;
  }
  out.push_back({"quantised", "config.json: quantization_config",
                 fmt::format("the weights are quantised ({}), which these readers do not take",
                             method.empty() ? "no quant_method" : method),
                 "use the model that it was made of, or  sft export  for a GGUF file",
                 effects({{Effect::refuses, refuse}})});
}

}  // namespace

void check_config(const ModelFolder& folder, Findings& out) {
  if (!folder.config.there) {
    out.push_back({"config-missing", "config.json", "there is no config.json",
                   "take it from the model that this one was made of", for_all(Effect::refuses)});
    return;
  }
  if (!folder.config.usable()) {
    out.push_back({"config-unreadable", "config.json",
                   "config.json cannot be read: " + folder.config.problem,
                   "repair it, or take it from the model that this one was made of",
                   for_all(Effect::refuses)});
    return;
  }
  check_names(folder, out);
  check_rope(folder, out);
  check_type(folder, out);
  check_quantisation(folder, out);
  const Json scaling = folder.config.get("tie_word_embeddings");
  if (!scaling.is_null() && !scaling.is_boolean()) {
    out.push_back({"tie-no-truth", "config.json: tie_word_embeddings",
                   fmt::format("tie_word_embeddings is {}, wanted true or false", to_text(scaling)),
                   "write true or false", for_all(Effect::refuses)});
  }
}

}  // namespace sft
