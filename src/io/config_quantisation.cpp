#include "io/config_quantisation.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "core/error.h"
#include "core/tensor.h"

namespace sft {

namespace {

Error wrong_quantisation(const Json& config, const char* key, const char* wanted,
                         const std::string& file) {
  return Error("C202", fmt::format("quantization_config: \"{}\" is {}, and {} is wanted", key,
                                   to_text(config[key]), wanted))
      .at(file);
}

// The layers that stay as they are, under whichever of these keys; none: no list is given.
std::optional<std::vector<std::string>> read_skips(const Json& config, const std::string& file,
                                                   std::initializer_list<const char*> keys) {
  std::optional<std::vector<std::string>> all;
  for (const char* key : keys) {
    const Json skips = config.value(key, Json());
    if (skips.is_null()) {
      continue;
    }
    if (!skips.is_array() ||
        !std::ranges::all_of(skips, [](const Json& name) { return name.is_string(); })) {
      throw wrong_quantisation(config, key, "a list of names", file);
    }
    all = all.value_or(std::vector<std::string>());
    for (const Json& name : skips) {
      all->push_back(name);
    }
  }
  return all;
}

// transformers packs the matrices of gpt-oss's experts.
bool is_mxfp4_weight(const std::string& name) {
  return name.ends_with(".experts.gate_up_proj") || name.ends_with(".experts.down_proj");
}

}  // namespace

// What quantises the weights in float8 must be what is read.
ConfigQuantisation::Float8 ConfigQuantisation::read_float8(const Json& config,
                                                           const std::string& file) {
  const auto wrong = [&](const char* key, const char* wanted) {
    return wrong_quantisation(config, key, wanted, file);
  };
  Float8 read;
  if (const Json format = config.value("fmt", Json("e4m3")); format != "e4m3") {
    throw wrong("fmt", "e4m3");
  }
  if (config.contains("weight_block_size")) {
    const Json& block = config["weight_block_size"];
    read.tiles = !block.is_null();
    if (read.tiles && block != Json::array({kScaleTile, kScaleTile})) {
      throw wrong("weight_block_size", "[128, 128]");
    }
  }
  if (auto skips = read_skips(config, file, {"modules_to_not_convert", "ignored_layers"})) {
    read.skips_head = false;
    read.skips = std::move(*skips);
  }
  return read;
}

ConfigQuantisation::ConfigQuantisation(const Json& config, const std::string& model,
                                       const std::string& file) {
  for (const char* key : {"quantization_config", "compression_config"}) {
    if (config.contains(key) && !config[key].is_null()) {
      const Json& q = config[key];
      const Json method =
          q.is_object() && q.contains("quant_method") ? q["quant_method"] : Json("?");
      if (method == "bitsandbytes") {
        bnb_ = BnbConfig::from_json(q, file, false);
        continue;
      }
      if (method == "fp8") {
        float8_ = read_float8(q, file);
        continue;
      }
      if (method == "mxfp4") {
        mxfp4_skips_ =
            read_skips(q, file, {"modules_to_not_convert"}).value_or(std::vector<std::string>());
        continue;
      }
      throw Error("M243", fmt::format("{} is already quantised (\"{}\" has quant_method {}); "
                                      "bitsandbytes, fp8 and mxfp4 are read",
                                      model, key, to_text(method)))
          .at(file)
          .hint("give the unquantised model this one was made from");
    }
  }
}

std::string ConfigQuantisation::words() const {
  return bnb_           ? "bitsandbytes " + bnb_->words()
         : float8_      ? "float8 in tiles with scales of their own"
         : mxfp4_skips_ ? "MXFP4"
                        : "";
}

std::optional<DType> ConfigQuantisation::type_of(const std::string& weight) const {
  const std::string module = weight.substr(0, weight.rfind('.'));
  if (bnb_) {
    return bnb_->quantises(module) ? std::optional(bnb_->type) : std::nullopt;
  }
  if (float8_) {
    const bool skips =
        float8_->skips_head ? module == "lm_head" : skips_module(float8_->skips, module);
    return skips ? std::nullopt : std::optional(float8_->tiles ? DType::f8_blocks : DType::f8_rows);
  }
  if (mxfp4_skips_ && is_mxfp4_weight(weight) && !skips_module(*mxfp4_skips_, module)) {
    return DType::mxfp4;
  }
  return std::nullopt;
}

}  // namespace sft
