#include "io/gguf/names.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <optional>

#include "core/error.h"
#include "io/gguf/errors.h"

namespace sft {

namespace {

constexpr std::array<GgufTensorName, 11> kLayerNames{{
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

constexpr std::array<GgufTensorName, 9> kWhole{{
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output_norm.bias", "model.norm.bias"},
    {"output.weight", "lm_head.weight"},
    {"token_embd_norm.weight", "model.embedding_norm.weight"},               // LFM2's last norm
    {"per_layer_token_embd.weight", "model.embed_tokens_per_layer.weight"},  // Gemma 4's
    {"per_layer_model_proj.weight", "model.per_layer_model_projection.weight"},
    {"per_layer_proj_norm.weight", "model.per_layer_projection_norm.weight"},
    {"rope_freqs.weight", ""},
}};

constexpr std::string_view kLayers = "model.layers.", kBlocks = "blk.";
constexpr int64_t kMostExperts = 1 << 14;  // as of a config.json
constexpr std::string_view kGate = "ffn_gate_exps", kUp = "ffn_up_exps", kDown = "ffn_down_exps",
                           kGateUp = "ffn_gate_up_exps";

// "blk.12.attn_q.weight" -> 12, "attn_q.weight"; nothing where `prefix` does not begin it.
struct LayerName {
  int64_t layer = -1;
  std::string_view rest;
};

std::optional<LayerName> split_layer(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) {
    return std::nullopt;
  }
  name.remove_prefix(prefix.size());
  LayerName out;
  const auto [rest, status] = std::from_chars(name.data(), name.data() + name.size(), out.layer);
  name.remove_prefix(static_cast<size_t>(rest - name.data()));
  if (status != std::errc() || !name.starts_with(".") || name.size() < 2) {
    return std::nullopt;
  }
  out.rest = name.substr(1);
  return out;
}

// "attn_q.weight" -> "self_attn.q_proj.weight" by `from` and `to`; nothing where there is none, two
// where the family has two of that name.
std::vector<std::string> renamed(const GgufFamily& family, std::string_view name,
                                 std::string_view GgufTensorName::* from,
                                 std::string_view GgufTensorName::* to) {
  const size_t dot = name.rfind('.');
  const std::string_view part = name.substr(0, dot);
  const std::string_view kind = dot == std::string_view::npos ? "" : name.substr(dot + 1);
  const bool is_kind = kind == "weight" || kind == "bias";
  std::vector<std::string> names;
  for (const GgufTensorName& n : family.names) {
    if (n.*from == name) {
      names.emplace_back(n.*to);
    } else if (is_kind && n.*from == part) {
      names.push_back(fmt::format("{}.{}", n.*to, kind));
    }
  }
  if (!names.empty()) {
    return names;
  }
  for (const GgufTensorName& n : kLayerNames) {
    if (is_kind && n.*from == part) {
      return {fmt::format("{}.{}", n.*to, kind)};
    }
  }
  return {};
}

[[noreturn]] void fail_stranger(const GgufFamily& family, std::string_view name, const char* hint,
                                const std::string& where) {
  Error error(kGgufStranger, fmt::format("tensor \"{}\" has no place in the architecture \"{}\"",
                                         name, family.architecture));
  if (!where.empty()) {
    error.at(where);
  }
  throw error.hint(hint);
}

std::string in_layer(std::string_view prefix, int64_t layer, std::string_view rest) {
  return fmt::format("{}{}.{}", prefix, layer, rest);
}

// The places of "gate_up_proj", "gate_up_proj_bias", "down_proj", ...: all experts in one.
std::vector<GgufPlace> places_as_one(const GgufExperts& experts, int64_t layer,
                                     std::string_view name) {
  const bool bias = name.ends_with("_bias");
  const std::string_view matrix = name.substr(0, name.size() - (bias ? 5 : 0));
  const char* const kind = bias ? "bias" : "weight";
  const auto place = [&](std::string_view part, int turn, int turns) {
    return GgufPlace{
        in_layer(kBlocks, layer, fmt::format("{}.{}", part, kind)), -1, 0, 1, !bias, turn, turns};
  };
  if (matrix == experts.down) {
    return {place(kDown, 0, 1)};
  }
  return matrix == experts.gate ? std::vector{place(kGate, 0, 2), place(kUp, 1, 2)}
                                : std::vector<GgufPlace>();
}

// The place of "12.up_proj.weight".
std::vector<GgufPlace> place_apart(const GgufExperts& experts, int64_t layer,
                                   std::string_view name) {
  int64_t expert = -1;
  const auto [rest, status] = std::from_chars(name.data(), name.data() + name.size(), expert);
  name.remove_prefix(static_cast<size_t>(rest - name.data()));
  if (status != std::errc() || !name.starts_with(".") || !name.ends_with(".weight")) {
    return {};
  }
  name = name.substr(1, name.size() - 8);
  if (experts.gate_up && (name == experts.gate || name == experts.up)) {
    return {{in_layer(kBlocks, layer, fmt::format("{}.weight", kGateUp)), expert,
             name == experts.up ? 1 : 0, 2}};
  }
  const std::string_view part = name == experts.gate   ? kGate
                                : name == experts.up   ? kUp
                                : name == experts.down ? kDown
                                                       : "";
  if (part.empty()) {
    return {};
  }
  return {{in_layer(kBlocks, layer, fmt::format("{}.weight", part)), expert}};
}

// The published tensors of "ffn_gate_exps.weight"; nothing for another name.
std::optional<std::vector<std::string>> of_experts(const GgufFamily& family, int64_t layer,
                                                   std::string_view name, int64_t count) {
  const GgufExperts& e = family.experts;
  const size_t dot = name.rfind('.');
  const std::string_view part = name.substr(0, dot);
  const std::string_view kind = dot == std::string_view::npos ? "" : name.substr(dot);
  const std::string_view hf = part == kGate ? e.gate : part == kUp ? e.up : e.down;
  if (e.gate_up && part == kGateUp && kind == ".weight") {
    std::vector<std::string> names;
    for (int64_t i = 0; i < count; ++i) {
      for (const std::string_view matrix : {e.gate, e.up}) {
        names.push_back(
            in_layer(kLayers, layer, fmt::format("{}{}.{}.weight", e.block, i, matrix)));
      }
    }
    return names;
  }
  if (!family.has_experts() || (part != kGate && part != kUp && part != kDown) ||
      (kind != ".weight" && (kind != ".bias" || !e.as_one))) {
    return std::nullopt;
  }
  std::vector<std::string> names;
  if (e.as_one) {
    if (part != kUp) {
      names.push_back(in_layer(kLayers, layer,
                               fmt::format("{}{}{}", e.block, hf, kind == ".bias" ? "_bias" : "")));
    }
    return names;
  }
  for (int64_t i = 0; i < count; ++i) {
    names.push_back(in_layer(kLayers, layer, fmt::format("{}{}.{}.weight", e.block, i, hf)));
  }
  return names;
}

}  // namespace

std::vector<GgufPlace> gguf_places(const GgufFamily& family, std::string_view hf) {
  for (const GgufTensorName& n : kWhole) {
    if (n.hf == hf) {
      return {{std::string(n.gguf)}};
    }
  }
  if (const auto name = split_layer(hf, kLayers)) {
    const GgufExperts& e = family.experts;
    if (family.has_experts() && name->rest.starts_with(e.block)) {
      const std::string_view rest = name->rest.substr(e.block.size());
      auto places =
          e.as_one ? places_as_one(e, name->layer, rest) : place_apart(e, name->layer, rest);
      if (!places.empty()) {
        return places;
      }
    }
    std::vector<GgufPlace> places;
    for (const std::string& ours :
         renamed(family, name->rest, &GgufTensorName::hf, &GgufTensorName::gguf)) {
      places.push_back({in_layer(kBlocks, name->layer, ours)});
    }
    if (!places.empty()) {
      return places;
    }
  }
  fail_stranger(family, hf, "keep the folder as it is: GGUF has no name for this", "");
}

std::string gguf_tensor_name(const GgufFamily& family, std::string_view hf) {
  const std::vector<GgufPlace> places = gguf_places(family, hf);
  if (places.size() != 1 || places[0].expert >= 0 || places[0].turned) {
    fail_stranger(family, hf, "merge it into its base first: sft merge", "");
  }
  return places[0].tensor;
}

std::vector<std::string> hf_tensor_names(const GgufFamily& family, const GgufFile& file,
                                         const GgufTensor& tensor) {
  for (const auto& [gguf, hf] : kWhole) {
    if (gguf == tensor.name) {
      return hf.empty() ? std::vector<std::string>() : std::vector{std::string(hf)};
    }
  }
  if (tensor.name == "rope_factors_long.weight" || tensor.name == "rope_factors_short.weight") {
    return {};
  }
  if (const auto name = split_layer(tensor.name, kBlocks)) {
    const int64_t count = tensor.shape.size() == 3 ? tensor.shape[0] : 0;
    if (count <= kMostExperts) {
      if (auto names = of_experts(family, name->layer, name->rest, count)) {
        return *names;
      }
    }
    const auto hf = renamed(family, name->rest, &GgufTensorName::gguf, &GgufTensorName::hf);
    if (!hf.empty()) {
      const std::string published = in_layer(kLayers, name->layer, hf[0]);
      const bool first = gguf_places(family, published)[0].tensor == tensor.name;
      return first ? std::vector{published} : std::vector<std::string>();
    }
    if (name->rest.starts_with("attn_rot_embd.") || name->rest.starts_with("rope_freqs.")) {
      return {};
    }
  }
  fail_stranger(family, tensor.name,
                "the file holds more than a plain text model; use the original folder instead",
                file.path().string());
}

}  // namespace sft
