// The decoder that families are made of: LayerForm says how its layers are put together. A family
// that differs writes its own lines.
#pragma once

#include <string>

#include "model/model.h"

namespace sft {

// --- forms ---------------------------------------------------------------------------------------
// Norms on both sides of attention and MLP: Gemma.
inline constexpr LayerForm kNormsOnBothSides{.attention_out = "post_attention_layernorm",
                                             .mlp_in = "pre_feedforward_layernorm",
                                             .mlp_out = "post_feedforward_layernorm"};
// Norms of what attention and MLP give, none of what they read: OLMo 2 and EXAONE 4.
inline constexpr LayerForm kNormsBehind{.attention_in = "",
                                        .attention_out = "post_attention_layernorm",
                                        .mlp_in = "",
                                        .mlp_out = "post_feedforward_layernorm",
                                        .query_norm = "q_norm",
                                        .key_norm = "k_norm"};

// --- parameters ----------------------------------------------------------------------------------
// The table of the embeddings, and the parameters after the last block.
void add_embedding(std::vector<ParamSpec>& specs, const ModelConfig& config);
void add_head(std::vector<ParamSpec>& specs, const ModelConfig& config);
// The fused projection "<layer>self_attn.qkv_proj" (queries have their gates behind them where
// config.query_gates says so), the output, their biases, the norms of heads, sinks.
void add_attention(std::vector<ParamSpec>& specs, const ModelConfig& config, int layer);
// An MLP of the layer's module `module`: "mlp".
void add_mlp(std::vector<ParamSpec>& specs, const ModelConfig& config, int layer,
             const std::string& module, int64_t intermediate);
// A linear layer "<prefix>weight" of block `block`, published under the same name, or as `parts`.
void add_linear(std::vector<ParamSpec>& specs, const std::string& prefix, int64_t out, int64_t in,
                bool bias, int block, const std::vector<ParamPiece>& parts = {});
// A vector (size) that is published under its name.
void add_vector(std::vector<ParamSpec>& specs, const std::string& name, int64_t size, int block,
                ParamKind kind, Init init);
// The filters (channels, 1, taps) "<prefix>weight" of a convolution.
void add_filters(std::vector<ParamSpec>& specs, const std::string& prefix, int64_t channels,
                 int64_t taps, bool bias, int block);
// A layer's norm; nothing where `name` is "".
void add_norm(std::vector<ParamSpec>& specs, const ModelConfig& config, int layer,
              const std::string& name);
// All of the above, as config.form has them.
std::vector<ParamSpec> decoder_parameters(const ModelConfig& config);

// --- the forward pass ----------------------------------------------------------------------------
// "model.layers.3."
std::string layer_prefix(int layer);

// Generating: whether each text has one new token, so that all rows are kept; and whether the text
// begins with these tokens (it has no more than inputs.longest): they attend to each other alone.
bool one_token_each(const Program& p, const ModelInputs& inputs);
bool begins_text(const ModelInputs& inputs);

// The embeddings of inputs.tokens, with inputs.noise where there is any: (tokens, hidden).
Value embed(Program& p, const ModelConfig& config, const Weights& w, const ModelInputs& inputs);
// Of x (tokens, n) the rows that later steps read: after the last layer's attention those of
// inputs.kept, elsewhere all. Other tokens are only looked at, as keys and values.
Value kept_rows(Program& p, const ModelConfig& config, const ModelInputs& inputs, int layer,
                Value x);
// x (tokens, hidden) -> the attention's output (the kept rows, hidden). `tables` has the rope table
// of each of config.ropes.
Value attention_block(Program& p, const ModelConfig& config, const Weights& w,
                      const ModelInputs& inputs, const std::vector<Value>& tables, int layer,
                      Value x);
// Of it what lies between the two products: qkv (tokens, heads.row()) -> (tokens, heads *
// head_dim).
Value attend(Program& p, const ModelConfig& config, const Weights& w, const ModelInputs& inputs,
             const std::vector<Value>& tables, int layer, Value qkv);
// x (tokens, hidden) -> down(act(gate x) * up x), or down(act(up x)).
Value mlp_block(Program& p, const ModelConfig& config, const Weights& w, const ModelInputs& inputs,
                int layer, const std::string& module, Value x);

// One rope table per entry of config.ropes.
std::vector<Value> rope_tables(Program& p, const ModelConfig& config, const ModelInputs& inputs);

// The norm "<prefix>weight" of x; x itself where `prefix` is "".
Value norm_block(Program& p, const ModelConfig& config, const Weights& w, const std::string& prefix,
                 Value x);
// x + config.residual_scale delta (x alone where delta is null), and the norm of that.
std::pair<Value, Value> add_norm_block(Program& p, const ModelConfig& config, const Weights& w,
                                       const std::string& prefix, Value x, Value delta);

// -> what the head reads: see Family::forward.
Value decoder_forward(Program& p, const ModelConfig& config, const Weights& w,
                      const ModelInputs& inputs);

}  // namespace sft
