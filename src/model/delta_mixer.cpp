// Linear attention of Qwen3-Next and Qwen3.5: queries, keys and values go through a short
// convolution, the gated delta rule (ops/gated_delta.h), and a norm with a gate z.
#include <fmt/format.h>

#include <tuple>

#include "core/error.h"
#include "core/json.h"
#include "model/blocks.h"
#include "model/config.h"
#include "model/mixers.h"
#include "ops/causal_conv.h"
#include "ops/gated_delta.h"
#include "ops/gated_norm.h"
#include "ops/linear.h"
#include "ops/split_columns.h"

namespace sft {

namespace {

// Qwen3-Next's projection: of each key head its query, its key, and values and z of the value heads
// that it serves.
ColumnSplit split_by_key(const DeltaHeads& h) {
  const int64_t k = h.key_dim;
  const int64_t v = int64_t{h.served()} * h.value_dim;
  const int64_t stride = 2 * k + 2 * v;
  return {{{{{0, k, h.key_heads, stride},
             {k, k, h.key_heads, stride},
             {2 * k, v, h.key_heads, stride}}}},
          {{{{2 * k + v, v, h.key_heads, stride}}}}};
}

// -> (qkv, z)
std::pair<Value, Value> project(Program& p, const ModelConfig& c, const Weights& w,
                                const std::string& prefix, Value x) {
  if (c.delta.by_key_head) {
    return split_columns(p, linear(p, x, w.linear(prefix + "in_proj_qkvz.")),
                         split_by_key(c.delta));
  }
  const Value qkv = linear(p, x, w.linear(prefix + "in_proj_qkv."));
  return {qkv, linear(p, x, w.linear(prefix + "in_proj_z."))};
}

}  // namespace

namespace {

// The sizes of its heads, and of the convolution.
void read_delta(const Json& config, ModelConfig& m) {
  constexpr Whole kCount{1, 1 << 12}, kDim{1, 128};  // what kernels are made for
  DeltaHeads& h = m.delta;
  h.key_heads = whole_or(config, "linear_num_key_heads", 16, kCount);
  h.value_heads = whole_or(config, "linear_num_value_heads", 32, kCount);
  h.key_dim = whole_or(config, "linear_key_head_dim", 128, kDim);
  h.value_dim = whole_or(config, "linear_value_head_dim", 128, kDim);
  m.conv_taps = whole_or(config, "linear_conv_kernel_dim", 4, {2, 4});
  if (h.value_heads % h.key_heads != 0) {
    throw Error("M034", fmt::format("config.json: \"linear_num_value_heads\" is {}, it must be a "
                                    "multiple of \"linear_num_key_heads\", {}",
                                    h.value_heads, h.key_heads))
        .hint("use the folder of a whole model, as published or as saved by transformers");
  }
}

}  // namespace

ModelConfig read_delta_decoder(const Json& given) {
  const Json config =
      with_defaults(given, {{"max_position_embeddings", 32768}, {"partial_rotary_factor", 0.25}});
  ModelConfig m = read_common(config);
  m.qkv_bias = m.output_bias = flag_or(config, "attention_bias", false);
  m.form.query_norm = "q_norm";
  m.form.key_norm = "k_norm";
  m.norm.weight_offset = 1.0F;
  m.query_gates = true;
  m.ropes = {read_rope(config, m.head_dim, true)};
  read_delta(config, m);
  const int interval = whole_or(config, "full_attention_interval", 4, {1, 1000});
  read_mixers(config, m, "linear_attention", Mixer::gated_delta,
              [&](int layer) { return (layer + 1) % interval != 0; });
  if (!flag_or(config, "attn_output_gate", true)) {
    throw Error("M033", "config.json: \"attn_output_gate\": false is not supported, only true is")
        .hint("take another model");
  }
  return m;
}

// In the order in which transformers declares the layers.
void add_delta(std::vector<ParamSpec>& specs, const ModelConfig& c, int layer) {
  const std::string prefix = layer_prefix(layer) + "linear_attn.";
  const DeltaHeads& h = c.delta;
  const int block = layer + 1;
  const auto add_output = [&] {
    add_vector(specs, prefix + "norm.weight", h.value_dim, block, ParamKind::norm, Init::ones);
    add_linear(specs, prefix + "out_proj.", c.hidden, h.values(), false, block);
  };
  add_vector(specs, prefix + "dt_bias", h.value_heads, block, ParamKind::bias, Init::ones);
  add_vector(specs, prefix + "A_log", h.value_heads, block, ParamKind::rate, Init::ones);
  add_filters(specs, prefix + "conv1d.", h.row(), c.conv_taps, false, block);
  if (h.by_key_head) {
    add_linear(specs, prefix + "in_proj_qkvz.", h.row() + h.values(), c.hidden, false, block);
    add_linear(specs, prefix + "in_proj_ba.", 2 * int64_t{h.value_heads}, c.hidden, false, block);
    add_output();
    return;
  }
  add_output();
  add_linear(specs, prefix + "in_proj_qkv.", h.row(), c.hidden, false, block);
  add_linear(specs, prefix + "in_proj_z.", h.values(), c.hidden, false, block);
  add_linear(specs, prefix + "in_proj_ba.", 2 * int64_t{h.value_heads}, c.hidden, false, block,
             {{prefix + "in_proj_b.", h.value_heads}, {prefix + "in_proj_a.", h.value_heads}});
}

Value delta_block(Program& p, const ModelConfig& c, const Weights& w, const ModelInputs& inputs,
                  const std::vector<Value>& /*tables*/, int layer, Value x) {
  const std::string prefix = layer_prefix(layer) + "linear_attn.";
  auto [qkv, z] = project(p, c, w, prefix, x);
  const Value rates = linear(p, x, w.linear(prefix + "in_proj_ba."));
  const Value filters = w(prefix + "conv1d.weight");
  const Value a_log = w(prefix + "A_log");
  const Value dt_bias = w(prefix + "dt_bias");
  Value y;
  if (inputs.caches.empty()) {
    qkv = causal_conv(p, qkv, filters, {}, inputs.documents, ConvForm::silu);
    y = gated_delta(p, qkv, rates, a_log, dt_bias, inputs.documents, c.delta);
  } else {
    const std::vector<Value>& caches = inputs.caches[static_cast<size_t>(layer)];
    qkv = cached_conv(p, qkv, filters, {}, caches[0], inputs.past, inputs.lanes, ConvForm::silu);
    y = cached_gated_delta(p, qkv, rates, a_log, dt_bias, caches[1], inputs.past, inputs.lanes,
                           c.delta);
  }
  y = gated_norm(p, kept_rows(p, c, inputs, layer, y), kept_rows(p, c, inputs, layer, z),
                 w(prefix + "norm.weight"), c.norm.eps);
  return linear(p, y, w.linear(prefix + "out_proj."));
}

std::vector<CacheSpec> delta_caches(const ModelConfig& c, int layer, const CacheRoom& room,
                                    DType compute) {
  const DeltaHeads& h = c.delta;
  return {{fmt::format("conv.{}", layer), {room.lanes, c.conv_taps - 1, h.row()}, compute},
          {fmt::format("state.{}", layer),
           {room.lanes, h.value_heads, h.key_dim, h.value_dim},
           DType::f32}};
}

}  // namespace sft
