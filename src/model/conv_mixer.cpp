// LFM2's short convolution: the input gives b, c and x, and c * conv(b * x) goes to the output.
#include <fmt/format.h>

#include "model/blocks.h"
#include "model/mixers.h"
#include "ops/causal_conv.h"
#include "ops/linear.h"

namespace sft {

void add_conv(std::vector<ParamSpec>& specs, const ModelConfig& c, int layer) {
  const std::string prefix = layer_prefix(layer) + "conv.";
  const int block = layer + 1;
  add_filters(specs, prefix + "conv.", c.hidden, c.conv_taps, c.conv_bias, block);
  add_linear(specs, prefix + "in_proj.", 3 * c.hidden, c.hidden, c.conv_bias, block);
  add_linear(specs, prefix + "out_proj.", c.hidden, c.hidden, c.conv_bias, block);
}

Value conv_block(Program& p, const ModelConfig& c, const Weights& w, const ModelInputs& inputs,
                 const std::vector<Value>& /*tables*/, int layer, Value x) {
  const std::string prefix = layer_prefix(layer) + "conv.";
  const Value wide = linear(p, x, w.linear(prefix + "in_proj."));
  const Value weight = w(prefix + "conv.weight");
  const Value bias = w.optional(prefix + "conv.bias");
  const Value y =
      inputs.caches.empty()
          ? causal_conv(p, wide, weight, bias, inputs.documents, ConvForm::gated)
          : cached_conv(p, wide, weight, bias, inputs.caches[static_cast<size_t>(layer)][0],
                        inputs.past, inputs.lanes, ConvForm::gated);
  return linear(p, kept_rows(p, c, inputs, layer, y), w.linear(prefix + "out_proj."));
}

std::vector<CacheSpec> conv_caches(const ModelConfig& c, int layer, const CacheRoom& room,
                                   DType compute) {
  return {{fmt::format("conv.{}", layer), {room.lanes, c.conv_taps - 1, c.hidden}, compute}};
}

}  // namespace sft
