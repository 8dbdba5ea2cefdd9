#include "model/config.h"

#include <fmt/format.h>

#include <cmath>

#include "core/error.h"

namespace sft {

namespace {

bool present(const Json& config, const char* field) {
  return config.contains(field) && !config[field].is_null();
}

template <class T>
T required(const Json& config, const char* field) {
  if (!present(config, field)) {
    throw Error("M034", fmt::format("config.json has no \"{}\"", field))
        .hint("use the folder of a whole model, as published or as saved by transformers");
  }
  try {
    return config[field].get<T>();
  } catch (const Json::exception&) {
    throw Error("M034", fmt::format("config.json: \"{}\" has the unusable value {}", field,
                                    to_text(config[field])));
  }
}

template <class T>
T value_or(const Json& config, const char* field, T fallback) {
  return present(config, field) ? required<T>(config, field) : fallback;
}

int positive(const Json& config, const char* field) {
  const auto value = required<int64_t>(config, field);
  if (value <= 0 || value > (int64_t{1} << 30)) {
    throw Error("M034",
                fmt::format("config.json: \"{}\" is {}, not a positive size", field, value));
  }
  return static_cast<int>(value);
}

std::vector<float> base_frequencies(double theta, int head_dim) {
  std::vector<float> f(static_cast<size_t>(head_dim / 2));
  for (size_t i = 0; i < f.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    f[i] = 1.0F / std::pow(static_cast<float>(theta), exponent);
  }
  return f;
}

// Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, those between blended.
void scale_llama3(std::vector<float>& frequencies, const Json& parameters) {
  const auto factor = required<float>(parameters, "factor");
  const auto low = required<float>(parameters, "low_freq_factor");
  const auto high = required<float>(parameters, "high_freq_factor");
  const auto original = required<float>(parameters, "original_max_position_embeddings");
  for (float& f : frequencies) {
    const float wavelength = 2.0F * static_cast<float>(M_PI) / f;
    if (wavelength > original / low) {
      f /= factor;
    } else if (wavelength >= original / high) {
      const float smooth = (original / wavelength - low) / (high - low);
      f = (1.0F - smooth) * f / factor + smooth * f;
    }
  }
}

// Peng et al., "YaRN" (2023), with transformers' choice of the ramp's ends.
float scale_yarn(std::vector<float>& frequencies, const Json& parameters, double theta,
                 int head_dim, int max_positions) {
  const auto factor = required<double>(parameters, "factor");
  const auto original =
      value_or<double>(parameters, "original_max_position_embeddings", max_positions);
  const auto beta_fast = value_or<double>(parameters, "beta_fast", 32.0);
  const auto beta_slow = value_or<double>(parameters, "beta_slow", 1.0);
  const auto dimension = [&](double rotations) {
    return head_dim * std::log(original / (rotations * 2.0 * M_PI)) / (2.0 * std::log(theta));
  };
  double low = dimension(beta_fast);
  double high = dimension(beta_slow);
  if (value_or<bool>(parameters, "truncate", true)) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(head_dim - 1));
  if (low == high) {
    high += 0.001;
  }
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    const double f = frequencies[i];
    frequencies[i] = static_cast<float>(f / factor * ramp + f * (1.0 - ramp));
  }
  const auto mscale = [&](double m) {
    return factor <= 1.0 ? 1.0 : 0.1 * m * std::log(factor) + 1.0;
  };
  double attention = mscale(1.0);
  if (present(parameters, "mscale") && present(parameters, "mscale_all_dim")) {
    attention = mscale(required<double>(parameters, "mscale")) /
                mscale(required<double>(parameters, "mscale_all_dim"));
  }
  return static_cast<float>(value_or<double>(parameters, "attention_factor", attention));
}

}  // namespace

ModelConfig read_common(const Json& config) {
  ModelConfig m;
  m.vocab = positive(config, "vocab_size");
  m.hidden = positive(config, "hidden_size");
  m.intermediate = positive(config, "intermediate_size");
  m.layers = positive(config, "num_hidden_layers");
  m.heads = positive(config, "num_attention_heads");
  m.kv_heads = value_or<int>(config, "num_key_value_heads", m.heads);
  m.head_dim = value_or<int>(config, "head_dim", static_cast<int>(m.hidden) / m.heads);
  if (m.kv_heads <= 0 || m.heads % m.kv_heads != 0 || m.head_dim <= 0 || m.head_dim % 2 != 0) {
    throw Error("M034", fmt::format("config.json: {} heads, {} key heads of {} do not fit together",
                                    m.heads, m.kv_heads, m.head_dim));
  }
  m.max_positions = value_or<int>(config, "max_position_embeddings", 2048);
  m.tied = value_or<bool>(config, "tie_word_embeddings", false);
  m.padding = value_or<int64_t>(config, "pad_token_id", -1);
  m.norm.eps = value_or<float>(config, "rms_norm_eps", 1e-6F);
  m.initializer_range = value_or<float>(config, "initializer_range", 0.02F);
  m.attention_scale = 1.0F / std::sqrt(static_cast<float>(m.head_dim));
  m.layer.resize(static_cast<size_t>(m.layers));
  const auto activation = value_or<std::string>(
      config, "hidden_act", value_or<std::string>(config, "hidden_activation", "silu"));
  if (activation == "silu") {
    m.activation = Activation::silu;
  } else if (activation == "gelu_pytorch_tanh") {
    m.activation = Activation::gelu_tanh;
  } else {
    throw Error("M033", fmt::format("config.json: the activation \"{}\" is not supported "
                                    "(silu and gelu_pytorch_tanh are)",
                                    activation));
  }
  if (value_or<double>(config, "attention_dropout", 0.0) != 0.0) {
    throw Error("M033", "config.json: attention_dropout other than 0 is not supported")
        .hint("set it to 0.0, as published models have it");
  }
  return m;
}

RopeFrequencies rope_from(const Json& parameters, const Json& config, int head_dim) {
  const auto theta =
      value_or<double>(parameters, "rope_theta", value_or<double>(config, "rope_theta", 10000.0));
  const auto type = value_or<std::string>(parameters, "rope_type",
                                          value_or<std::string>(parameters, "type", "default"));
  if (value_or<double>(parameters, "partial_rotary_factor",
                       value_or<double>(config, "partial_rotary_factor", 1.0)) != 1.0) {
    throw Error("M032", "config.json: a partial_rotary_factor other than 1 is not supported");
  }
  RopeFrequencies rope{base_frequencies(theta, head_dim), 1.0F};
  if (type == "linear") {
    const auto factor = required<float>(parameters, "factor");
    for (float& f : rope.inv_freq) {
      f /= factor;
    }
  } else if (type == "llama3") {
    scale_llama3(rope.inv_freq, parameters);
  } else if (type == "yarn") {
    const int max_positions = value_or<int>(config, "max_position_embeddings", 2048);
    Json with_original = parameters;
    if (!present(parameters, "original_max_position_embeddings") &&
        present(config, "original_max_position_embeddings")) {
      with_original["original_max_position_embeddings"] =
          config["original_max_position_embeddings"];
    }
    rope.attention_factor =
        scale_yarn(rope.inv_freq, with_original, theta, head_dim, max_positions);
  } else if (type != "default") {
    throw Error("M032", fmt::format("config.json: the rope type \"{}\" is not supported "
                                    "(default, linear, llama3 and yarn are)",
                                    type));
  }
  return rope;
}

RopeFrequencies read_rope(const Json& config, int head_dim) {
  if (present(config, "rope_parameters")) {
    return rope_from(config["rope_parameters"], config, head_dim);
  }
  return rope_from(present(config, "rope_scaling") ? config["rope_scaling"] : Json::object(),
                   config, head_dim);
}

void read_windows(const Json& config, ModelConfig& model, bool (*slides)(const Json&, int layer)) {
  const int window = value_or<int>(config, "sliding_window", 0);
  const bool listed = present(config, "layer_types");
  if (listed && config["layer_types"].size() != static_cast<size_t>(model.layers)) {
    throw Error("M034", fmt::format("config.json: layer_types lists {} layers, not {}",
                                    config["layer_types"].size(), model.layers));
  }
  for (int i = 0; i < model.layers; ++i) {
    bool sliding = slides(config, i);
    if (listed) {
      const auto type = config["layer_types"][static_cast<size_t>(i)].get<std::string>();
      if (type != "sliding_attention" && type != "full_attention") {
        throw Error("M033",
                    fmt::format("config.json: the layer type \"{}\" is not supported", type));
      }
      sliding = type == "sliding_attention";
    }
    model.layer[static_cast<size_t>(i)].window = sliding ? window : 0;
  }
}

bool slides_as_qwen(const Json& config, int layer) {
  return config.value("use_sliding_window", false) &&
         layer >= config.value("max_window_layers", 28);
}

void refuse_field(const Json& config, const char* field) {
  if (present(config, field) && config[field] != false) {
    throw Error("M033", fmt::format("config.json: \"{}\": {} is not supported", field,
                                    to_text(config[field])));
  }
}

}  // namespace sft
