#include "model/mixers.h"

#include <fmt/format.h>

#include <algorithm>

#include "model/blocks.h"

namespace sft {

namespace {

std::vector<CacheSpec> attention_caches(const ModelConfig& c, int layer, const CacheRoom& room,
                                        DType compute) {
  if (c.at(layer).shares >= 0) {
    return {};
  }
  const Heads heads = c.attention_heads(layer);
  const int64_t row = 2 * int64_t{heads.kv_heads} * heads.head_dim;
  return {{fmt::format("cache.{}", layer), {room.rows, row}, compute}};
}

// In the order of Mixer.
constexpr MixerKind kMixers[] = {{add_attention, attention_block, attention_caches},
                                 {add_delta, delta_block, delta_caches},
                                 {add_conv, conv_block, conv_caches}};

}  // namespace

const MixerKind& mixer_of(const ModelConfig& config, int layer) {
  return kMixers[static_cast<size_t>(config.layer[static_cast<size_t>(layer)].mixer)];
}

std::vector<std::vector<CacheSpec>> cache_specs(const ModelConfig& config, const CacheRoom& room,
                                                DType compute) {
  std::vector<std::vector<CacheSpec>> specs;
  for (int layer = 0; layer < config.layers; ++layer) {
    specs.push_back(mixer_of(config, layer).caches(config, layer, room, compute));
  }
  return specs;
}

bool has_states(const ModelConfig& config) {
  return std::ranges::any_of(config.layer, [](const ModelConfig::Layer& layer) {
    return layer.mixer != Mixer::attention;
  });
}

}  // namespace sft
