#include "model/few_rows_forward.h"

#include "model/blocks.h"
#include "model/generation.h"
#include "ops/add_scaled.h"
#include "ops/few_rows.h"

namespace sft {

namespace {

bool joins(const Program& p, int64_t rows, const Linear& layer) {
  return layer.lora.empty() && takes_few_rows(p, rows, layer);
}

// norm(x) weight^T + bias
Value normed_product(Program& p, const ModelConfig& c, Value x, Value norm, const Linear& layer) {
  FewRows how;
  how.norm = c.norm;
  const Value y = p.activation("linear", {p.shape(x)[0], p.shape(layer.weight)[0]});
  emit_few_rows(p, x, norm, layer, how, y);
  return y;
}

// sum += scale (x weight^T + bias)
void add_product(Program& p, const ModelConfig& c, Value x, const Linear& layer, Value sum) {
  FewRows how;
  how.alpha = c.residual_scale;
  emit_few_rows(p, x, {}, layer, how, {sum, Output::Mode::add});
}

}  // namespace

bool joins_few_rows(const Program& p, const ModelConfig& c, const Weights& w,
                    const ModelInputs& inputs) {
  const LayerForm& form = c.form;
  const auto named = [](const char* name) { return *name != '\0'; };
  if (!one_token_each(p, inputs) || has_states(c) || c.query_gates || form.layer_norm ||
      form.parallel || named(form.up) || !named(form.attention_in) || !named(form.mlp_in) ||
      named(form.attention_out) || named(form.mlp_out)) {
    return false;
  }
  const int64_t rows = p.shape(inputs.tokens)[0];
  for (int layer = 0; layer < c.layers; ++layer) {
    const std::string prefix = layer_prefix(layer);
    if (c.layer[static_cast<size_t>(layer)].experts) {
      return false;
    }
    const Linear output = w.linear(prefix + "self_attn." + c.form.attention_output + ".");
    const Linear gate_up = w.linear(prefix + c.form.mlp + ".gate_up_proj.");
    const Linear down = w.linear(prefix + c.form.mlp + "." + form.down + ".");
    const bool scaled_bias = c.residual_scale != 1.0F && (output.bias || down.bias);
    if (scaled_bias || !joins(p, rows, w.linear(prefix + "self_attn.qkv_proj.")) ||
        !joins(p, rows, output) || !joins(p, rows, gate_up) || !joins(p, rows, down) ||
        !takes_few_gated_rows(p, rows, gate_up)) {
      return false;
    }
  }
  return true;
}

Value few_rows_forward(Program& p, const ModelConfig& c, const Weights& w,
                       const ModelInputs& inputs) {
  const std::vector<Value> tables = rope_tables(p, c, inputs);
  const Value x = embed(p, c, w, inputs);
  for (int layer = 0; layer < c.layers; ++layer) {
    const std::string prefix = layer_prefix(layer);
    const auto norm = [&](const char* name) { return w(prefix + name + ".weight"); };
    p.begin_block(layer);
    const Value qkv = normed_product(p, c, x, norm(c.form.attention_in),
                                     w.linear(prefix + "self_attn.qkv_proj."));
    const Value y = attend(p, c, w, inputs, tables, layer, qkv);
    add_product(p, c, y, w.linear(prefix + "self_attn." + c.form.attention_output + "."), x);
    FewRows gated;
    gated.norm = c.norm;
    gated.gated = c.activation;
    const Value wide = p.activation("gated_activation", {p.shape(x)[0], c.wide(layer)});
    emit_few_rows(p, x, norm(c.form.mlp_in), w.linear(prefix + c.form.mlp + ".gate_up_proj."),
                  gated, wide);
    add_product(p, c, wide, w.linear(prefix + c.form.mlp + "." + c.form.down + "."), x);
    p.end_block();
  }
  const Value h = norm_block(p, c, w, c.form.last_norm + std::string("."), x);
  return c.logit_scale == 1.0F ? h : add_scaled(p, {}, h, c.logit_scale);
}

}  // namespace sft
