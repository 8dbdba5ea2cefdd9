#include "model/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/json.h"
#include "core/numbers.h"

namespace sft {

bool present(const Json& config, const char* field) {
  return config.contains(field) && !config[field].is_null();
}

namespace {

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

}  // namespace

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

namespace {

// What models have, and a good deal more: products of a few of these fit 64 bits.
constexpr Whole kVocab{1, 1 << 24}, kWidth{1, 1 << 20}, kIntermediate{1, 1 << 24};
constexpr Whole kLayers{1, 1000}, kHeads{1, 1 << 16}, kHeadDim{2, 1 << 16};
constexpr Whole kPositions{1, kMostCount}, kWindow{0, kMostCount}, kTokenId{-1, kMostCount};
constexpr Real kEpsilon{0, 1}, kShare{0, 1}, kSpread{0, 1e3};

}  // namespace

int whole_or(const Json& config, const char* field, int fallback, Whole range) {
  return present(config, field) ? whole(config, field, range) : fallback;
}

double real_or(const Json& config, const char* field, double fallback, Real range) {
  return present(config, field) ? real(config, field, range) : fallback;
}

float share_dropped(const Json& config, const char* field) {
  return static_cast<float>(real_or(config, field, 0.0, {0, 0.99}));
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

Json with_defaults(Json config, const Json& defaults) {
  for (const auto& [key, value] : defaults.items()) {
    if (!config.contains(key)) {
      config[key] = value;
    }
  }
  return config;
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
  m.drops.attention = share_dropped(config, "attention_dropout");
  return m;
}

namespace {

// Which layers `layer_types` calls `name`, the others being full attention; by `otherwise` where
// there is no list.
std::vector<bool> layers_called(const Json& config, int layers, const char* name,
                                const std::function<bool(int layer)>& otherwise) {
  const bool listed = present(config, "layer_types");
  const Json types = listed ? config["layer_types"] : Json::array();
  if (listed && (!types.is_array() || types.size() != static_cast<size_t>(layers))) {
    throw Error("M034", fmt::format("config.json: layer_types is no list of {} layers: {}", layers,
                                    to_text(types).substr(0, 80)));
  }
  std::vector<bool> called;
  for (int i = 0; i < layers; ++i) {
    if (!listed) {
      called.push_back(otherwise(i));
      continue;
    }
    const Json& type = types[static_cast<size_t>(i)];
    if (type != name && type != "full_attention") {
      throw Error("M033",
                  fmt::format("config.json: the layer type {} is not supported", to_text(type)));
    }
    called.push_back(type == name);
  }
  return called;
}

}  // namespace

void read_windows(const Json& config, ModelConfig& model, bool (*slides)(const Json&, int layer)) {
  const int window = whole_or(config, "sliding_window", 0, kWindow);
  const std::vector<bool> sliding = layers_called(config, model.layers, "sliding_attention",
                                                  [&](int layer) { return slides(config, layer); });
  for (size_t i = 0; i < sliding.size(); ++i) {
    model.layer[i].window = sliding[i] ? window : 0;
  }
}

void read_mixers(const Json& config, ModelConfig& model, const char* name, Mixer mixer,
                 const std::function<bool(int layer)>& mixes) {
  const std::vector<bool> mixed = layers_called(config, model.layers, name, mixes);
  for (size_t i = 0; i < mixed.size(); ++i) {
    model.layer[i].mixer = mixed[i] ? mixer : Mixer::attention;
  }
}

bool slides_as_qwen(const Json& config, int layer) {
  return flag_or(config, "use_sliding_window", false) &&
         layer >= whole_or(config, "max_window_layers", 28, {0, kMostCount});
}

bool slides_by_pattern(const Json& config, int layer, int fallback) {
  return (layer + 1) % whole_or(config, "sliding_window_pattern", fallback, {1, 10'000}) != 0;
}

void refuse_field(const Json& config, const char* field) {
  if (present(config, field) && config[field] != false) {
    throw Error("M033", fmt::format("config.json: \"{}\": {} is not supported", field,
                                    to_text(config[field])));
  }
}

}  // namespace sft
