#include "io/gguf/write/rope_keys.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>
#include <optional>

#include "core/error.h"

namespace sft {

Json rope_of(const Json& config) {
  Json rope = Json::object();
  if (config.contains("rope_theta") && config["rope_theta"].is_number()) {
    rope["rope_theta"] = config["rope_theta"];
  }
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (config.contains(key) && config[key].is_object()) {
      const Json& given = config[key];
      rope.update(given.contains("full_attention") ? given["full_attention"] : given);
    }
  }
  if (!rope.contains("rope_type") && rope.contains("type")) {
    rope["rope_type"] = rope["type"];
  }
  for (const char* key : {"partial_rotary_factor", "original_max_position_embeddings"}) {
    if (!rope.contains(key) && config.contains(key) && config[key].is_number()) {
      rope[key] = config[key];
    }
  }
  return rope;
}

namespace {

std::optional<double> local_theta(const Json& config) {
  if (config.contains("rope_parameters") && config["rope_parameters"].is_object() &&
      config["rope_parameters"].contains("sliding_attention")) {
    return config["rope_parameters"]["sliding_attention"].value("rope_theta", 1e4);
  }
  if (config.contains("rope_local_base_freq") && config["rope_local_base_freq"].is_number()) {
    return config["rope_local_base_freq"].get<double>();
  }
  return std::nullopt;
}

}  // namespace

void set_rope(GgufMetadata& m, const std::string& arch, const Json& config, bool gemma) {
  const Json rope = rope_of(config);
  const std::string type = rope.value("rope_type", "default");
  const auto key = [&](const char* rest) { return fmt::format("{}.rope.{}", arch, rest); };
  const bool by_alpha = type == "dynamic" && rope.value("alpha", 0.0) != 0.0;
  if (type == "linear" || type == "yarn") {
    m.text(key("scaling.type"), type);
    m.real(key("scaling.factor"), rope.value("factor", 1.0F));
  }
  if (type == "yarn") {
    m.number(key("scaling.original_context_length"),
             rope.value("original_max_position_embeddings",
                        config.value("max_position_embeddings", uint32_t{0})));
    for (const auto& [name, field] : {std::pair{"scaling.yarn_attn_factor", "attention_factor"},
                                      {"scaling.yarn_beta_fast", "beta_fast"},
                                      {"scaling.yarn_beta_slow", "beta_slow"}}) {
      if (rope.contains(field) && rope[field].is_number()) {
        m.real(key(name), rope[field].get<float>());
      }
    }
  } else if (type == "longrope" || type == "su") {
    m.text(key("scaling.type"), "longrope");
  } else if (type != "linear" && type != "default" && type != "llama3" && type != "proportional" &&
             !by_alpha) {
    throw Error("M284", fmt::format("the rope scaling \"{}\" has no key in a GGUF file", type))
        .hint("export to safetensors instead: the folder is one");
  }
  if (rope.contains("mrope_section")) {
    set_sections(m, arch, rope["mrope_section"]);
  }
  m.real(key("freq_base"), static_cast<float>(rope.value("rope_theta", gemma ? 1e6 : 1e4)));
  if (const auto local = gemma ? local_theta(config).value_or(1e4) : local_theta(config)) {
    m.real(key("freq_base_swa"), static_cast<float>(*local));
  }
}

void set_sections(GgufMetadata& m, const std::string& arch, const Json& sections) {
  std::vector<int32_t> sizes;
  for (const Json& section : sections) {
    sizes.push_back(section.is_number_integer() ? section.get<int32_t>() : 0);
  }
  sizes.resize(4);
  m.numbers(fmt::format("{}.rope.dimension_sections", arch), sizes);
}

double longrope_attention(const Json& config) {
  const auto most = config.value("max_position_embeddings", 0.0);
  const auto original = rope_of(config).value("original_max_position_embeddings", most);
  const double growth = original > 0 ? most / original : 1.0;
  return growth > 1.0 ? std::sqrt(1.0 + std::log(growth) / std::log(original)) : 1.0;
}

std::vector<float> llama3_divisors(const Json& config, int head_dim) {
  const Json rope = rope_of(config);
  if (rope.value("rope_type", "") != "llama3") {
    return {};
  }
  const double factor = rope.value("factor", 8.0), low = rope.value("low_freq_factor", 1.0);
  const double high = rope.value("high_freq_factor", 4.0);
  const double original = rope.value("original_max_position_embeddings", 8192.0);
  const auto theta = static_cast<float>(rope.value("rope_theta", 1e4));
  std::vector<float> divisors;
  for (int i = 0; i < head_dim; i += 2) {
    // In the converter's own precision: frequencies are float32 there.
    const float power = static_cast<float>(i) / static_cast<float>(head_dim);
    const float frequency = 1.0F / std::pow(theta, power);
    const float wavelength = static_cast<float>(2 * std::numbers::pi) / frequency;
    if (wavelength < static_cast<float>(original / high)) {
      divisors.push_back(1);
    } else if (wavelength > static_cast<float>(original / low)) {
      divisors.push_back(static_cast<float>(factor));
    } else {
      const float smooth = (static_cast<float>(original) / wavelength - static_cast<float>(low)) /
                           static_cast<float>(high - low);
      divisors.push_back(1.0F / ((1.0F - smooth) / static_cast<float>(factor) + smooth));
    }
  }
  return divisors;
}

}  // namespace sft
