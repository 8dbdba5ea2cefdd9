#include "io/gguf/write/mix.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace sft {

namespace {

constexpr std::array<GgufMix, 9> kMixes{{
    {"f32", "F32", 0, DType::f32, false},
    {"f16", "F16", 1, DType::f16, false},
    {"bf16", "BF16", 32, DType::bf16, false},
    {"q8_0", "Q8_0", 7, DType::q8_0, false},
    {"q4_0", "Q4_0", 2, DType::q4_0, true},
    {"q4_1", "Q4_1", 3, DType::q4_1, true},
    {"q4_k_m", "Q4_K_M", 15, DType::q4_k, true},
    {"q5_k_m", "Q5_K_M", 17, DType::q5_k, true},
    {"q6_k", "Q6_K", 18, DType::q6_k, true},
}};

bool holds(std::string_view name, std::string_view part) {
  return name.find(part) != std::string_view::npos;
}

// Vectors, norms, routers and the filters of convolutions stay in float32.
// The quantiser leaves one more as it was.
bool stays_plain(const GgufMix& mix, const GgufTensorPlace& t) {
  return (mix.quantiser && holds(t.name, "per_layer_model_proj")) || t.shape.size() < 2 ||
         !t.name.ends_with(".weight") || t.name.ends_with("_norm.weight") ||
         holds(t.name, "ffn_gate_inp.weight") || holds(t.name, "ffn_gate_inp_shexp.weight") ||
         holds(t.name, "ssm_conv1d.weight") || holds(t.name, "shortconv.conv.weight");
}

// Of a model whose q, k and v are one tensor, that counts as v.
bool is_values(std::string_view name) {
  return holds(name, "attn_v.weight") || holds(name, "attn_qkv.weight");
}

// The layers at both ends, and every third between, are worth more bits.
bool more_bits(int64_t layer, int64_t layers) {
  return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

// What stands in for a format of 256 values where rows are no multiple of that.
DType smaller_blocks(DType type) {
  switch (type) {
    case DType::q4_k:
      return DType::q5_0;
    case DType::q5_k:
      return DType::q5_1;
    case DType::q6_k:
      return DType::q8_0;
    default:
      return type;
  }
}

int64_t block_of(DType type) { return find_gguf_type(type)->block; }

int layer_of(std::string_view name) {
  int layer = -1;
  if (name.starts_with("blk.")) {
    std::from_chars(name.data() + 4, name.data() + name.size(), layer);
  }
  return layer;
}

// Where the tensors are counted as the file has them, as the quantiser does.
struct Counts {
  int64_t values = 0, all_values = 0;
};

DType quantised_type(const GgufMix& mix, const GgufModelFacts& model, const GgufTensorPlace& t,
                     Counts& counts) {
  constexpr int64_t kOfMixtral = 8;  // experts: its attention is small, and gets more bits
  const int64_t width = t.shape.back();
  const bool mixed = mix.name.ends_with("_m");
  DType type = mix.type;
  if (t.name == "output.weight" || (model.tied && t.name.ends_with("token_embd.weight"))) {
    type = width % block_of(type) != 0 ? DType::q8_0 : DType::q6_k;
  } else if (is_values(t.name)) {
    if (mixed && more_bits(counts.values, counts.all_values)) {
      type = DType::q6_k;
    }
    if (model.shares_heads_by_8 && type == DType::q4_k) {
      type = DType::q5_k;
    }
    if (model.experts == kOfMixtral) {
      type = DType::q8_0;
    }
    ++counts.values;
  } else if (holds(t.name, "attn_k.weight") && model.experts == kOfMixtral) {
    type = DType::q8_0;
  } else if (holds(t.name, "ffn_down")) {
    if (mixed && more_bits(layer_of(t.name), model.layers)) {
      type = DType::q6_k;
    }
  } else if (holds(t.name, "attn_output.weight") && model.experts == kOfMixtral &&
             mix.name == "q4_k_m") {
    type = DType::q5_k;
  }
  if (width % block_of(type) != 0) {
    type = smaller_blocks(type);
  }
  return width % block_of(type) != 0 ? DType::f16 : type;
}

}  // namespace

const GgufMix* find_gguf_mix(std::string_view name) {
  const auto* mix = std::ranges::find(kMixes, name, &GgufMix::name);
  return mix == kMixes.end() ? nullptr : mix;
}

std::vector<std::string> gguf_mix_names() {
  std::vector<std::string> names;
  for (const GgufMix& mix : kMixes) {
    names.emplace_back(mix.name);
  }
  return names;
}

std::vector<const GgufType*> gguf_types(const GgufMix& mix, const GgufModelFacts& model,
                                        const std::vector<GgufTensorPlace>& tensors) {
  Counts counts;
  counts.all_values =
      std::ranges::count_if(tensors, [](const auto& t) { return is_values(t.name); });
  std::vector<const GgufType*> types;
  for (const GgufTensorPlace& t : tensors) {
    DType type = DType::f32;
    if (!stays_plain(mix, t)) {
      type = mix.quantiser                              ? quantised_type(mix, model, t, counts)
             : t.shape.back() % block_of(mix.type) == 0 ? mix.type
                                                        : DType::f16;
    }
    types.push_back(find_gguf_type(type));
  }
  return types;
}

bool quantiser_order(std::string_view a, std::string_view b) {
  const int left = layer_of(a), right = layer_of(b);
  return left != right ? left < right : a < b;
}

}  // namespace sft
