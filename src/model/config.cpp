#include "model/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/json.h"
#include "core/numbers.h"

namespace sft {

namespace {

bool present(const Json& config, const char* field) {
  return config.contains(field) && !config[field].is_null();
}

const Json& required(const Json& config, const char* field) {
  if (!present(config, field)) {
    throw Error("M034", fmt::format("config.json has no \"{}\"", field))
        .hint("use the folder of a whole model, as published or as saved by transformers");
  }
  return config[field];
}

[[noreturn]] void unusable(const Json& config, const char* field, const std::string& wanted) {
  throw Error("M034", fmt::format("config.json: \"{}\" is {}, it must be {}", field,
                                  to_text(config[field]), wanted))
      .hint("use the folder of a whole model, as published or as saved by transformers");
}

int whole(const Json& config, const char* field, Whole range) {
  const auto value = json_whole(required(config, field), range.least, range.most);
  if (!value) {
    unusable(config, field, fmt::format("a whole number from {} to {}", range.least, range.most));
  }
  return static_cast<int>(*value);
}

double real(const Json& config, const char* field, Real range) {
  const auto value = json_real(required(config, field), range.least, range.most);
  if (!value) {
    unusable(config, field, fmt::format("a number from {} to {}", range.least, range.most));
  }
  return *value;
}

std::string word(const Json& config, const char* field, const std::string& fallback) {
  if (!present(config, field)) {
    return fallback;
  }
  if (!config[field].is_string()) {
    unusable(config, field, "a word");
  }
  return config[field].get<std::string>();
}

// What models have, and a good deal more: products of a few of these fit 64 bits.
constexpr Whole kVocab{1, 1 << 24}, kWidth{1, 1 << 20}, kIntermediate{1, 1 << 24};
constexpr Whole kLayers{1, 1000}, kHeads{1, 1 << 16}, kHeadDim{2, 1 << 16};
constexpr Whole kPositions{1, kMostCount}, kWindow{0, kMostCount}, kTokenId{-1, kMostCount};
constexpr Real kEpsilon{0, 1}, kShare{0, 1}, kSpread{0, 1e3}, kTheta{1, 1e15};
constexpr Real kFactor{1e-6, 1e9}, kRotations{1e-6, 1e6};

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
  const auto number = [&](const char* field, Real range) {
    return static_cast<float>(real(parameters, field, range));
  };
  const float factor = number("factor", kFactor);
  const float low = number("low_freq_factor", kFactor);
  const float high = number("high_freq_factor", kFactor);
  const float original = number("original_max_position_embeddings", {1, 1e10});
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
  const double factor = real(parameters, "factor", kFactor);
  const double original =
      real_or(parameters, "original_max_position_embeddings", max_positions, {1, 1e10});
  const double beta_fast = real_or(parameters, "beta_fast", 32.0, kRotations);
  const double beta_slow = real_or(parameters, "beta_slow", 1.0, kRotations);
  const auto dimension = [&](double rotations) {
    return head_dim * std::log(original / (rotations * 2.0 * M_PI)) / (2.0 * std::log(theta));
  };
  double low = dimension(beta_fast);
  double high = dimension(beta_slow);
  if (flag_or(parameters, "truncate", true)) {
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
    attention = mscale(real(parameters, "mscale", kFactor)) /
                mscale(real(parameters, "mscale_all_dim", kFactor));
  }
  return static_cast<float>(real_or(parameters, "attention_factor", attention, kFactor));
}

}  // namespace

int whole_or(const Json& config, const char* field, int fallback, Whole range) {
  return present(config, field) ? whole(config, field, range) : fallback;
}

double real_or(const Json& config, const char* field, double fallback, Real range) {
  return present(config, field) ? real(config, field, range) : fallback;
}

bool flag_or(const Json& config, const char* field, bool fallback) {
  if (!present(config, field)) {
    return fallback;
  }
  if (!config[field].is_boolean()) {
    unusable(config, field, "true or false");
  }
  return config[field].get<bool>();
}

ModelConfig read_common(const Json& config) {
  ModelConfig m;
  m.vocab = whole(config, "vocab_size", kVocab);
  m.hidden = whole(config, "hidden_size", kWidth);
  m.intermediate = whole(config, "intermediate_size", kIntermediate);
  m.layers = whole(config, "num_hidden_layers", kLayers);
  m.heads = whole(config, "num_attention_heads", kHeads);
  m.kv_heads = whole_or(config, "num_key_value_heads", m.heads, kHeads);
  m.head_dim = whole_or(config, "head_dim", static_cast<int>(m.hidden) / m.heads, kHeadDim);
  if (m.heads % m.kv_heads != 0 || m.head_dim <= 0 || m.head_dim % 2 != 0 ||
      int64_t{m.heads} * m.head_dim > kIntermediate.most) {
    throw Error("M034", fmt::format("config.json: {} heads, {} key heads of {} do not fit together",
                                    m.heads, m.kv_heads, m.head_dim));
  }
  m.max_positions = whole_or(config, "max_position_embeddings", 2048, kPositions);
  m.tied = flag_or(config, "tie_word_embeddings", false);
  m.padding = whole_or(config, "pad_token_id", -1, kTokenId);
  m.norm.eps = static_cast<float>(real_or(config, "rms_norm_eps", 1e-6, kEpsilon));
  m.initializer_range = static_cast<float>(real_or(config, "initializer_range", 0.02, kSpread));
  m.attention_scale = 1.0F / std::sqrt(static_cast<float>(m.head_dim));
  m.layer.resize(static_cast<size_t>(m.layers));
  const std::string activation =
      word(config, "hidden_act", word(config, "hidden_activation", "silu"));
  if (activation == "silu") {
    m.activation = Activation::silu;
  } else if (activation == "gelu_pytorch_tanh") {
    m.activation = Activation::gelu_tanh;
  } else {
    throw Error("M033", fmt::format("config.json: the activation \"{}\" is not supported "
                                    "(silu and gelu_pytorch_tanh are)",
                                    activation));
  }
  if (real_or(config, "attention_dropout", 0.0, kShare) != 0.0) {
    throw Error("M033", "config.json: attention_dropout other than 0 is not supported")
        .hint("set it to 0.0, as published models have it");
  }
  return m;
}

RopeFrequencies rope_from(const Json& parameters, const Json& config, int head_dim) {
  if (!parameters.is_object()) {
    throw Error("M034", fmt::format("config.json: the rope's parameters are {}, they must be an "
                                    "object with \"rope_type\" and \"rope_theta\"",
                                    to_text(parameters)))
        .hint("use the folder of a whole model, as published or as saved by transformers");
  }
  const double theta =
      real_or(parameters, "rope_theta", real_or(config, "rope_theta", 10000.0, kTheta), kTheta);
  const std::string type = word(parameters, "rope_type", word(parameters, "type", "default"));
  if (real_or(parameters, "partial_rotary_factor",
              real_or(config, "partial_rotary_factor", 1.0, kShare), kShare) != 1.0) {
    throw Error("M032", "config.json: a partial_rotary_factor other than 1 is not supported");
  }
  RopeFrequencies rope{base_frequencies(theta, head_dim), 1.0F};
  if (type == "linear") {
    const auto factor = static_cast<float>(real(parameters, "factor", kFactor));
    for (float& f : rope.inv_freq) {
      f /= factor;
    }
  } else if (type == "llama3") {
    scale_llama3(rope.inv_freq, parameters);
  } else if (type == "yarn") {
    const int max_positions = whole_or(config, "max_position_embeddings", 2048, kPositions);
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
  if (!std::isfinite(rope.attention_factor) ||
      !std::ranges::all_of(rope.inv_freq, [](float f) { return std::isfinite(f); })) {
    throw Error("M034",
                fmt::format("config.json: the rope's parameters give no finite frequencies: "
                            "{} with rope_theta {}",
                            to_text(parameters).substr(0, 200), theta))
        .hint("use the folder of a whole model, as published or as saved by transformers");
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
  const int window = whole_or(config, "sliding_window", 0, kWindow);
  const bool listed = present(config, "layer_types");
  const Json types = listed ? config["layer_types"] : Json::array();
  if (listed && (!types.is_array() || types.size() != static_cast<size_t>(model.layers))) {
    throw Error("M034", fmt::format("config.json: layer_types is no list of {} layers: {}",
                                    model.layers, to_text(types).substr(0, 80)));
  }
  for (int i = 0; i < model.layers; ++i) {
    bool sliding = slides(config, i);
    if (listed) {
      const Json& type = types[static_cast<size_t>(i)];
      if (type != "sliding_attention" && type != "full_attention") {
        throw Error("M033",
                    fmt::format("config.json: the layer type {} is not supported", to_text(type)));
      }
      sliding = type == "sliding_attention";
    }
    model.layer[static_cast<size_t>(i)].window = sliding ? window : 0;
  }
}

bool slides_as_qwen(const Json& config, int layer) {
  return flag_or(config, "use_sliding_window", false) &&
         layer >= whole_or(config, "max_window_layers", 28, {0, kMostCount});
}

void refuse_field(const Json& config, const char* field) {
  if (present(config, field) && config[field] != false) {
    throw Error("M033", fmt::format("config.json: \"{}\": {} is not supported", field,
                                    to_text(config[field])));
  }
}

}  // namespace sft
