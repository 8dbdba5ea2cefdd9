// What config.json says of a model's sizes, held against the headers of its weights: the first look
// at a model, before anything is made of either. Used by the way into
// a run and by load_model.
#pragma once

#include "io/model_source.h"
#include "model/model.h"

namespace sft {

// M258 with the field, its value and what the weights have: vocab_size, hidden_size,
// num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim, intermediate_size. Fewer
// layers than the weights have are fine where the user asked for them (--model_init_kwargs).
// Fetches weights of the hub.
void check_sizes(const ModelSource& source, const ModelConfig& config);

// The model of a source, its sizes checked where the weights are on this machine.
Model described_model(const ModelSource& source);

}  // namespace sft
