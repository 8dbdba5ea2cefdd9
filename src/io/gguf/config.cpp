#include "io/gguf/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/json.h"
#include "formats/ggml_blocks.h"
#include "io/gguf/errors.h"

namespace sft {

namespace {

// Late releases of transformers 4 warn falsely about a local folder that names no version.
constexpr const char* kTransformersVersion = "4.57.6";

// Metadata of the file's own architecture, with the checks every value needs.
class MetadataReader {
 public:
  MetadataReader(const GgufFile& file, const GgufFamily& family) : file_(file), family_(family) {}

  std::string key(const char* rest) const {
    return fmt::format("{}.{}", family_.architecture, rest);
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(kGgufSetting,
                fmt::format("{}: {}, which is not supported", file_.path().string(), what))
        .hint("use the original model folder instead");
  }
  int64_t size(const char* rest) const {
    const int64_t n = file_.required_integer(key(rest));
    if (n <= 0 || n > int64_t{1} << 31) {
      fail(fmt::format("{} is {}", key(rest), n));
    }
    return n;
  }
  std::optional<int64_t> integer(const char* rest) const { return file_.integer(key(rest)); }
  std::optional<double> number(const char* rest) const { return file_.number(key(rest)); }
  std::optional<std::string> string(const char* rest) const { return file_.string(key(rest)); }

  int64_t heads() const { return size("attention.head_count"); }
  // One number, or a list of equal numbers.
  int64_t kv_heads() const {
    const GgufValue* v = file_.value(key("attention.head_count_kv"));
    if (v == nullptr) {
      return heads();
    }
    if (const auto* list = std::get_if<std::vector<int64_t>>(&v->value)) {
      if (list->empty() || list->front() <= 0 ||
          std::any_of(list->begin(), list->end(), [&](auto n) { return n != list->front(); })) {
        fail("the number of key heads differs from layer to layer");
      }
      return list->front();
    }
    return size("attention.head_count_kv");
  }
  int64_t head_dim() const {
    return integer("attention.key_length").value_or(size("embedding_length") / heads());
  }
  int64_t vocab() const {
    const GgufTensor* embedding = file_.find("token_embd.weight");
    if (embedding == nullptr || embedding->shape.size() != 2) {
      throw Error("M244",
                  fmt::format("{} has no matrix \"token_embd.weight\"", file_.path().string()))
          .hint("the file is incomplete; fetch or convert it again");
    }
    return embedding->shape[0];
  }
  double theta() const {
    return number("rope.freq_base").value_or(family_.is("gemma3_text") ? 1e6 : 1e4);
  }

  const GgufFile& file() const { return file_; }
  const GgufFamily& family() const { return family_; }

 private:
  const GgufFile& file_;
  const GgufFamily& family_;
};

Json llama3_rope(const MetadataReader& r, const GgufTensor& tensor) {
  if (tensor.type->quantised || tensor.elements() != r.head_dim() / 2) {
    r.fail("rope_freqs.weight does not have head_dim / 2 plain numbers");
  }
  std::vector<float> divisors(static_cast<size_t>(tensor.elements()));
  tensor.type->decode(r.file().raw(tensor).data(), tensor.elements(), divisors.data());
  if (std::all_of(divisors.begin(), divisors.end(), [](float d) { return d == 1; })) {
    return nullptr;
  }
  auto rope = llama3_rope_from_divisors(divisors, r.theta());
  if (!rope) {
    r.fail("its rope_freqs.weight is not Llama 3's rope scaling");
  }
  return *rope;
}

// transformers' rope_scaling object, or null.
Json rope_scaling(const MetadataReader& r) {
  if (const GgufTensor* tensor = r.file().find("rope_freqs.weight")) {
    return llama3_rope(r, *tensor);
  }
  const std::string type = r.string("rope.scaling.type").value_or("none");
  const double factor =
      r.number("rope.scaling.factor").value_or(r.number("rope.scale_linear").value_or(1));
  if (type == "yarn") {
    if (std::abs(r.number("rope.scaling.yarn_attn_factor").value_or(1) - 1) > 1e-6 ||
        std::abs(r.number("rope.scaling.yarn_log_multiplier").value_or(0)) > 1e-6) {
      r.fail("its yarn rope scaling has an attention factor of its own");
    }
    Json yarn{{"factor", factor}, {"rope_type", "yarn"}};
    if (const auto n = r.integer("rope.scaling.original_context_length")) {
      yarn["original_max_position_embeddings"] = *n;
    }
    if (const auto x = r.number("rope.scaling.yarn_beta_fast")) {
      yarn["beta_fast"] = *x;
    }
    if (const auto x = r.number("rope.scaling.yarn_beta_slow")) {
      yarn["beta_slow"] = *x;
    }
    return yarn;
  }
  if (type != "linear" && type != "none") {
    r.fail(fmt::format("its rope scaling \"{}\"", type));
  }
  return factor == 1 ? Json() : Json{{"factor", factor}, {"rope_type", "linear"}};
}

Json with_theta(Json scaling, double theta) {
  Json rope{{"rope_theta", theta}, {"rope_type", "default"}};
  if (scaling.is_object()) {
    rope.update(scaling);
  }
  return rope;
}

void add_rope(const MetadataReader& r, Json& config) {
  const Json scaling = rope_scaling(r);
  config["rope_theta"] = r.theta();
  config["rope_scaling"] = scaling;
  const bool by_layer = r.family().is("gemma3_text") || r.family().is("olmo3");
  if (!by_layer) {
    config["rope_parameters"] = with_theta(scaling, r.theta());
    return;
  }
  const double local =
      r.number("rope.freq_base_swa").value_or(r.family().is("olmo3") ? r.theta() : 1e4);
  if (r.family().is_gemma()) {
    config["rope_local_base_freq"] = local;
  }
  config["rope_parameters"] = {{"full_attention", with_theta(scaling, r.theta())},
                               {"sliding_attention", with_theta(nullptr, local)}};
}

// Which layers see only a window: all but one of `usual`, unless the file says otherwise.
Json layer_types(const MetadataReader& r, int64_t layers, bool windowed, int64_t usual) {
  const GgufValue* v = r.file().value(r.key("attention.sliding_window_pattern"));
  const auto* flags = v == nullptr ? nullptr : std::get_if<std::vector<bool>>(&v->value);
  const auto* period = v == nullptr ? nullptr : std::get_if<int64_t>(&v->value);
  const int64_t every = period != nullptr && *period > 0 ? *period : usual;
  Json types = Json::array();
  for (int64_t i = 0; i < layers; ++i) {
    const bool listed = flags != nullptr && i < static_cast<int64_t>(flags->size());
    const bool slides = listed ? (*flags)[static_cast<size_t>(i)] : (i + 1) % every != 0;
    types.push_back(windowed && slides ? "sliding_attention" : "full_attention");
  }
  return types;
}

void add_gemma(const MetadataReader& r, Json& config, int64_t layers) {
  const bool second = r.family().is("gemma2");
  const int64_t largest = second ? 46 : 62;  // layers of the 27B
  const auto window = r.integer("attention.sliding_window");
  const auto optional_number = [&](const char* key) {
    const auto x = r.number(key);
    return x ? Json(*x) : Json();
  };
  config["hidden_activation"] = "gelu_pytorch_tanh";
  config["sliding_window"] = window ? Json(*window) : Json();
  config["layer_types"] = layer_types(r, layers, window.has_value(), second ? 2 : 6);
  config["attn_logit_softcapping"] = optional_number("attn_logit_softcapping");
  config["final_logit_softcapping"] = optional_number("final_logit_softcapping");
  // Not in the file; every size takes the head's width but the largest.
  config["query_pre_attn_scalar"] =
      layers == largest ? r.size("embedding_length") / r.heads() : r.head_dim();
}

void add_token_ids(const GgufFile& file, int64_t vocab, Json& config) {
  for (const auto& [key, name] : {std::pair{"tokenizer.ggml.bos_token_id", "bos_token_id"},
                                  {"tokenizer.ggml.eos_token_id", "eos_token_id"},
                                  {"tokenizer.ggml.padding_token_id", "pad_token_id"}}) {
    const auto id = file.integer(key);
    if (id && (*id < 0 || *id >= vocab)) {
      throw Error("M228", fmt::format("{}: {} is {}, beyond the vocabulary of {}",
                                      file.path().string(), key, *id, vocab))
          .hint("the file is damaged; fetch or convert it again");
    }
    config[name] = id ? Json(*id) : Json();
  }
}

// What the families but Llama, Qwen and Gemma have of their own.
void add_own(const MetadataReader& r, const GgufFile& file, Json& config, int64_t layers) {
  const GgufFamily& family = r.family();
  const auto number = [&](const char* field, const char* key, double usual) {
    config[field] = r.number(key).value_or(usual);
  };
  const auto has = [&](const char* tensor) { return file.find(tensor) != nullptr; };
  const auto window = r.integer("attention.sliding_window");
  if (family.is("granite")) {
    number("attention_multiplier", "attention.scale",
           1.0 / std::sqrt(static_cast<double>(r.head_dim())));
    number("embedding_multiplier", "embedding_scale", 1.0);
    number("residual_multiplier", "residual_scale", 1.0);
    number("logits_scaling", "logit_scale", 1.0);
  } else if (family.is("olmo3") || family.is("exaone4")) {
    config["sliding_window"] = window ? Json(*window) : Json();
    config["layer_types"] = layer_types(r, layers, window.has_value(), 4);
  } else if (family.is("smollm3")) {
    config["no_rope_layer_interval"] = 4;  // the runtime has it so
    config["use_sliding_window"] = false;
  } else if (family.is("seed_oss")) {
    config["attention_out_bias"] = has("blk.0.attn_output.bias");
    config["residual_dropout"] = 0.0;
  } else if (family.is("starcoder2")) {
    number("norm_epsilon", "attention.layer_norm_epsilon", 1e-5);
    config["use_bias"] = has("blk.0.attn_q.bias");
    config["hidden_act"] = "gelu_pytorch_tanh";
    config["sliding_window"] = nullptr;
    for (const char* field : {"residual_dropout", "embedding_dropout"}) {
      config[field] = 0.0;
    }
    config.erase("rms_norm_eps");
    config.erase("attention_bias");
  }
  if (family.is("granite") || family.is("smollm3") || family.is("seed_oss")) {
    config["mlp_bias"] = has("blk.0.ffn_down.bias");
  }
}

bool has_bias(const GgufFile& file) { return file.find("blk.0.attn_q.bias") != nullptr; }

// By key, as transformers writes them.
Json sorted(const Json& config) {
  const nlohmann::json by_key = nlohmann::json::parse(to_text(config));
  return Json::parse(by_key.dump());
}

}  // namespace

Json config_from_gguf(const GgufFile& file, const GgufFamily& family, std::string_view dtype) {
  const MetadataReader r(file, family);
  const int64_t layers = r.size("block_count");
  if (layers > 10'000) {
    r.fail(fmt::format("it has {} layers", layers));
  }
  Json config{{"architectures", {family.class_name}},
              {"attention_bias", has_bias(file)},
              {"attention_dropout", 0.0},
              {"dtype", dtype},
              {"head_dim", r.head_dim()},
              {"hidden_size", r.size("embedding_length")},
              {"initializer_range", 0.02},
              {"intermediate_size", r.size("feed_forward_length")},
              {"max_position_embeddings", r.size("context_length")},
              {"model_type", family.model_type},
              {"num_attention_heads", r.heads()},
              {"num_hidden_layers", layers},
              {"num_key_value_heads", r.kv_heads()},
              {"rms_norm_eps", r.number("attention.layer_norm_rms_epsilon").value_or(1e-6)},
              {"tie_word_embeddings", file.find("output.weight") == nullptr},
              {"torch_dtype", dtype},
              {"transformers_version", kTransformersVersion},
              {"use_cache", true},
              {"vocab_size", r.vocab()}};
  add_token_ids(file, r.vocab(), config);
  add_rope(r, config);
  if (family.is_gemma()) {
    add_gemma(r, config, layers);
    return sorted(config);
  }
  config["hidden_act"] = "silu";
  if (!family.is("llama") && !family.is("qwen2") && !family.is("qwen3")) {
    add_own(r, file, config, layers);
    return sorted(config);
  }
  if (family.is("llama")) {
    config["mlp_bias"] = file.find("blk.0.ffn_down.bias") != nullptr;
    config["pretraining_tp"] = 1;
  } else {
    // The runtime ignores Qwen's window, so the file never has one.
    config["use_sliding_window"] = false;
    config["sliding_window"] = nullptr;
    config["max_window_layers"] = layers;
    config["layer_types"] = std::vector<std::string>(static_cast<size_t>(layers), "full_attention");
  }
  if (family.is("qwen2")) {
    config.erase("attention_bias");  // Qwen2 always has it on q, k and v, and has no such key
  }
  return sorted(config);
}

Json generation_config_from_gguf(const GgufFile& file) {
  Json config = Json::object();
  const auto add = [&](const char* name, const char* key) {
    if (const auto id = file.integer(key)) {
      config[name] = *id;
    }
  };
  add("bos_token_id", "tokenizer.ggml.bos_token_id");
  add("eos_token_id", "tokenizer.ggml.eos_token_id");
  const auto turn_end = file.integer("tokenizer.ggml.eot_token_id");
  if (turn_end && config.contains("eos_token_id") && config["eos_token_id"] != *turn_end) {
    config["eos_token_id"] = {*turn_end, config["eos_token_id"]};
  }
  add("pad_token_id", "tokenizer.ggml.padding_token_id");
  config["transformers_version"] = kTransformersVersion;
  return config;
}

}  // namespace sft
