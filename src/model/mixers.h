// What lets the tokens of a layer see each other: attention, or what stands in its place in some of
// a model's layers. A row of the table in mixers.cpp for each kind; decoder_parameters and
// decoder_forward (model/blocks.h) take each layer's own.
#pragma once

#include <string>
#include <vector>

#include "model/generation.h"
#include "model/model.h"

namespace sft {

struct MixerKind {
  // Its parameters in a layer.
  void (*add)(std::vector<ParamSpec>& specs, const ModelConfig& config, int layer);
  // x (tokens, hidden) -> what is added to the residual (the kept rows, hidden): see
  // attention_block.
  Value (*block)(Program& p, const ModelConfig& config, const Weights& w, const ModelInputs& inputs,
                 const std::vector<Value>& tables, int layer, Value x);
  // What it keeps of texts that are generated; inputs.caches has them in this order.
  std::vector<CacheSpec> (*caches)(const ModelConfig& config, int layer, const CacheRoom& room,
                                   DType compute);
};

const MixerKind& mixer_of(const ModelConfig& config, int layer);

// The gated delta rule between a short convolution and a gated norm: Qwen3-Next and Qwen3.5
// (model/delta_mixer.cpp).
void add_delta(std::vector<ParamSpec>& specs, const ModelConfig& config, int layer);
Value delta_block(Program& p, const ModelConfig& config, const Weights& w,
                  const ModelInputs& inputs, const std::vector<Value>& tables, int layer, Value x);
std::vector<CacheSpec> delta_caches(const ModelConfig& config, int layer, const CacheRoom& room,
                                    DType compute);
// What these families have in common beside their MLPs: three layers of it to one of attention,
// whose heads have a gate each; norms multiply by 1 + weight, and a quarter of a head is turned.
ModelConfig read_delta_decoder(const Json& config);

// A short convolution between two gates: LFM2 (model/conv_mixer.cpp).
void add_conv(std::vector<ParamSpec>& specs, const ModelConfig& config, int layer);
Value conv_block(Program& p, const ModelConfig& config, const Weights& w, const ModelInputs& inputs,
                 const std::vector<Value>& tables, int layer, Value x);
std::vector<CacheSpec> conv_caches(const ModelConfig& config, int layer, const CacheRoom& room,
                                   DType compute);

}  // namespace sft
