// The pieces that transformer families are made of. A family that differs writes its own lines.
#pragma once

#include <string>

#include "model/model.h"

namespace sft {

// The table of the embeddings, and the parameters after the last block.
void add_embedding(std::vector<ParamSpec>& specs, const ModelConfig& config);
void add_head(std::vector<ParamSpec>& specs, const ModelConfig& config);
// The embeddings of inputs.tokens, with inputs.noise where there is any: (tokens, hidden).
Value embed(Program& p, const ModelConfig& config, const Weights& w, const ModelInputs& inputs);
// "<prefix>.self_attn.": the fused projection, its biases, the output; norms of heads on request.
void add_attention(std::vector<ParamSpec>& specs, const ModelConfig& config, int layer,
                   bool qk_norm);
void add_mlp(std::vector<ParamSpec>& specs, const ModelConfig& config, int layer);
void add_norm(std::vector<ParamSpec>& specs, const ModelConfig& config, int layer,
              const std::string& name);

// "model.layers.3."
std::string layer_prefix(int layer);

// Of x (tokens, n) the rows that later steps read: after the last layer's attention those of
// inputs.kept, elsewhere all. Other tokens are only looked at, as keys and values.
Value kept_rows(Program& p, const ModelConfig& config, const ModelInputs& inputs, int layer,
                Value x);
// x (tokens, hidden) -> the attention's output (the kept rows, hidden). `tables` has the rope table
// of each of config.ropes.
Value attention_block(Program& p, const ModelConfig& config, const Weights& w,
                      const ModelInputs& inputs, const std::vector<Value>& tables, int layer,
                      Value x);
// x (tokens, hidden) -> down(act(gate x) * up x)
Value mlp_block(Program& p, const ModelConfig& config, const Weights& w, int layer, Value x);

// One rope table per entry of config.ropes.
std::vector<Value> rope_tables(Program& p, const ModelConfig& config, const ModelInputs& inputs);

// The decoder of Llama and its kin: norm, attention, norm, MLP, each added to the residual.
std::vector<ParamSpec> prenorm_parameters(const ModelConfig& config, bool qk_norm);
Value prenorm_forward(Program& p, const ModelConfig& config, const Weights& w,
                      const ModelInputs& inputs);

}  // namespace sft
