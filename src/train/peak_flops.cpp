#include "train/peak_flops.h"

#include "model/experts.h"

namespace sft {

double peak_flops(const std::string& device) {
  struct Peak {
    const char* name;
    double flops;
  };
  constexpr Peak kPeaks[] = {{"H100 PCIe", 756e12}, {"H100", 989e12}, {"H200", 989e12},
                             {"B200", 2250e12},     {"A100", 312e12}, {"L40S", 362e12},
                             {"RTX 4090", 165e12},  {"A10", 125e12}};
  for (const Peak& peak : kPeaks) {
    if (device.find(peak.name) != std::string::npos) {
      return peak.flops;
    }
  }
  return 0;
}

double flops_per_token(const Model& model, int64_t seq) {
  const ModelConfig& c = model.config;
  // A product, its input's gradient and, where it is trained, its weight's.
  double flops = 0;
  for (const ParamSpec* const spec : model.parameters()) {
    if (!spec->words || (spec->name == kEmbeddingWeight && c.tied)) {
      const double share = holds_experts(spec->name)
                               ? static_cast<double>(c.routing.chosen) / c.routing.experts
                               : 1.0;
      flops += (spec->trained ? 6.0 : 4.0) * share * static_cast<double>(spec->shape.elements());
    }
  }
  for (int layer = 0; layer < c.layers; ++layer) {
    if (c.at(layer).mixer == Mixer::attention) {
      flops += 6.0 * c.heads * c.attention_heads(layer).head_dim * static_cast<double>(seq);
    } else if (c.at(layer).mixer == Mixer::gated_delta) {
      // A state is asked twice for each token, and added to once.
      flops += 3.0 * 6.0 * c.delta.value_heads * c.delta.key_dim * c.delta.value_dim;
    }
  }
  return flops;
}

}  // namespace sft
