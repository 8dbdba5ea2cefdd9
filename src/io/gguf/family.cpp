#include "io/gguf/family.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <utility>

#include "io/gguf/errors.h"
#include "model/model.h"

namespace sft {

namespace {

// Norms on both sides of attention and MLP, and norms behind them.
constexpr GgufTensorName kBothSides[] = {{"ffn_norm", "pre_feedforward_layernorm"},
                                         {"post_attention_norm", "post_attention_layernorm"},
                                         {"post_ffw_norm", "post_feedforward_layernorm"}};
constexpr GgufTensorName kBehind[] = {{"post_attention_norm", "post_attention_layernorm"},
                                      {"post_ffw_norm", "post_feedforward_layernorm"}};
constexpr GgufTensorName kPlainMlp[] = {{"ffn_up", "mlp.c_fc"}, {"ffn_down", "mlp.c_proj"}};

// Of rows with one architecture the first that a file fits is its own: see fits.
constexpr GgufFamily kFamilies[] = {
    {"llama", "llama", "LlamaForCausalLM", true, false, {}, true, true},
    {"qwen2", "qwen2", "Qwen2ForCausalLM", false, false},
    {"qwen3", "qwen3", "Qwen3ForCausalLM", false, false},
    {"gemma2", "gemma2", "Gemma2ForCausalLM", false, true, kBothSides},
    {"gemma3", "gemma3_text", "Gemma3ForCausalLM", false, true, kBothSides},
    {"granite", "granite", "GraniteForCausalLM", true, false, {}, true, true},
    {"smollm3", "smollm3", "SmolLM3ForCausalLM", true, false, {}, true, true},
    {"seed_oss", "seed_oss", "SeedOssForCausalLM", false, false, kBehind},
    {"olmo2", "olmo3", "Olmo3ForCausalLM", false, false, kBehind},
    {"olmo2", "olmo2", "Olmo2ForCausalLM", false, false, kBehind},
    {"exaone4", "exaone4", "Exaone4ForCausalLM", false, false, kBehind, false, true},
    {"starcoder2", "starcoder2", "Starcoder2ForCausalLM", false, false, kPlainMlp},
};

using LayerName = GgufTensorName;

// OLMo 3 is OLMo 2 with a window.
bool fits(const GgufFamily& family, const GgufFile& file) {
  return !family.is("olmo3") || file.integer("olmo2.attention.sliding_window").value_or(0) > 0;
}

constexpr std::array<LayerName, 11> kLayerNames{{
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
    {"ffn_norm", "post_attention_layernorm"},
}};

constexpr std::array<LayerName, 5> kWhole{{
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output_norm.bias", "model.norm.bias"},
    {"output.weight", "lm_head.weight"},
    {"rope_freqs.weight", ""},
}};

std::string_view layer_name(const GgufFamily& family, std::string_view gguf) {
  for (const LayerName& n : family.names) {
    if (n.gguf == gguf) {
      return n.hf;
    }
  }
  for (const LayerName& n : kLayerNames) {
    if (n.gguf == gguf) {
      return n.hf;
    }
  }
  return "";
}

// "blk.12.attn_q.weight" -> 12, "attn_q", "weight".
struct LayerParts {
  int64_t layer = -1;
  std::string_view part, kind;
};

std::optional<LayerParts> split_layer_name(std::string_view name) {
  if (!name.starts_with("blk.")) {
    return std::nullopt;
  }
  name.remove_prefix(4);
  LayerParts parts;
  const auto [rest, status] = std::from_chars(name.data(), name.data() + name.size(), parts.layer);
  name.remove_prefix(static_cast<size_t>(rest - name.data()));
  const size_t dot = name.rfind('.');
  if (status != std::errc() || !name.starts_with(".") || dot == 0) {
    return std::nullopt;
  }
  parts.part = name.substr(1, dot - 1);
  parts.kind = name.substr(dot + 1);
  return parts;
}

[[noreturn]] void fail_feature(const GgufFile& file, const std::string& what) {
  throw Error(kGgufSetting,
              fmt::format("{}: {}, which is not supported", file.path().string(), what))
      .hint("train another model of a supported family");
}

}  // namespace

const GgufFamily& find_gguf_family(const GgufFile& file) {
  const std::string architecture = file.string("general.architecture").value_or("");
  for (const GgufFamily& family : kFamilies) {
    if (architecture != family.architecture || !fits(family, file)) {
      continue;
    }
    const auto key = [&](const char* rest) { return architecture + "." + rest; };
    if (file.integer(key("expert_count")).value_or(0) > 0) {
      fail_feature(file, "the model is a mixture of experts");
    }
    const int64_t heads = file.required_integer(key("attention.head_count"));
    const int64_t width = file.required_integer(key("embedding_length"));
    if (heads <= 0 || width <= 0) {
      fail_feature(file, fmt::format("the model has {} heads and a width of {}", heads, width));
    }
    const int64_t head_dim = file.integer(key("attention.key_length")).value_or(width / heads);
    const int64_t value_dim = file.integer(key("attention.value_length")).value_or(head_dim);
    const int64_t rotated = file.integer(key("rope.dimension_count")).value_or(head_dim);
    if (value_dim != head_dim || rotated != head_dim) {
      fail_feature(file, fmt::format("keys of {}, values of {} and {} rotated dimensions differ",
                                     head_dim, value_dim, rotated));
    }
    return family;
  }
  std::string known;
  for (const GgufFamily& family : kFamilies) {
    if (fits(family, file)) {
      known += fmt::format("{}{}", known.empty() ? "" : ", ", family.architecture);
    }
  }
  throw Error(kGgufFamily, fmt::format("{} holds a model of the architecture \"{}\", which is not "
                                       "supported",
                                       file.path().string(), architecture))
      .hint(fmt::format("supported in GGUF files: {}", known));
}

std::string hf_tensor_name(const GgufFamily& family, const GgufFile& file,
                           const std::string& name) {
  for (const auto& [gguf, hf] : kWhole) {
    if (gguf == name) {
      return std::string(hf);
    }
  }
  if (const auto parts = split_layer_name(name)) {
    const std::string_view hf = layer_name(family, parts->part);
    if (!hf.empty() && (parts->kind == "weight" || parts->kind == "bias")) {
      return fmt::format("model.layers.{}.{}.{}", parts->layer, hf, parts->kind);
    }
    if (parts->part == "attn_rot_embd" || parts->part == "rope_freqs") {
      return "";
    }
  }
  throw Error(kGgufStranger, fmt::format("tensor \"{}\" has no place in the architecture \"{}\"",
                                         name, family.architecture))
      .at(file.path().string())
      .hint("the file holds more than a plain text model; use the original folder instead");
}

const GgufFamily& gguf_family_of(const Json& config) {
  const std::string_view architecture = find_family(config).architecture;
  for (const GgufFamily& family : kFamilies) {
    // A Mistral is a Llama to llama.cpp.
    if (architecture == family.class_name ||
        (architecture == "MistralForCausalLM" && family.is("llama"))) {
      return family;
    }
  }
  throw Error(kGgufFamily,
              fmt::format("{} cannot be written as a GGUF file", std::string(architecture)))
      .hint(
          "models of Llama, Mistral, Qwen2 and 3, Gemma 2 and 3, Granite, SmolLM3, OLMo 2 and 3, "
          "EXAONE 4, StarCoder2 and Seed-OSS can");
}

std::string gguf_tensor_name(const GgufFamily& family, std::string_view hf) {
  for (const LayerName& n : kWhole) {
    if (n.hf == hf) {
      return std::string(n.gguf);
    }
  }
  constexpr std::string_view kLayers = "model.layers.";
  const size_t dot = hf.find('.', kLayers.size());
  const size_t last = hf.rfind('.');
  if (hf.starts_with(kLayers) && dot != std::string_view::npos && last > dot) {
    const std::string_view layer = hf.substr(kLayers.size(), dot - kLayers.size());
    const std::string_view part = hf.substr(dot + 1, last - dot - 1);
    const auto named = [&](std::string_view gguf) {
      return fmt::format("blk.{}.{}.{}", layer, gguf, hf.substr(last + 1));
    };
    for (const LayerName& n : family.names) {
      if (n.hf == part) {
        return named(n.gguf);
      }
    }
    for (const LayerName& n : kLayerNames) {
      if (n.hf == part) {
        return named(n.gguf);
      }
    }
  }
  throw Error(kGgufStranger, fmt::format("tensor \"{}\" has no place in the architecture \"{}\"",
                                         hf, family.architecture))
      .hint("keep the folder as it is: GGUF has no name for this");
}

}  // namespace sft
