#include "ops/few_rows.h"

#include "core/error.h"
#include "ops/cuda/few_rows.cuh"

namespace sft::gpu {

void few_rows_product(Device& device, const Tensor& x, const Tensor& norm,
                      const std::vector<Tensor>& weights, const Tensor& bias, const FewRows& how,
                      Tensor& y, bool accumulate) {
  CudaDevice& gpu = cuda(device);
  few_rows::Operands o;
  o.gated = how.gated.has_value();
  o.x = x.data;
  o.norm = norm.f32();
  o.bias = bias.data;
  o.y = y.data;
  few_rows::Places& p = o.places;
  p = {};
  p.in = x.shape[1];
  p.ld = y.shape[1];
  p.x_rows = static_cast<int>(x.shape[0]);
  p.type = x.dtype;
  p.normed = how.norm.has_value();
  p.accumulate = accumulate;
  p.gelu = how.gated == Activation::gelu_tanh;
  p.eps = how.norm ? how.norm->eps : 0.0F;
  p.offset = how.norm ? how.norm->weight_offset : 0.0F;
  p.alpha = how.alpha;
  SFT_ASSERT(p.x_rows <= FewRows::kMost && p.in % kVec == 0);
  const auto plain = [](CudaDevice&, const Tensor& weight, const auto& f) {
    with_type(weight.dtype, [&](auto type) {
      using T = decltype(type);
      f(few_rows::Plain<T>{weight.as<T>()});
    });
    return true;
  };
  const auto launch = [&](const Tensor& first, const Tensor& second) {
    if (!few_rows::product_of_blocks(gpu, first, second, o) &&
        !few_rows::product_of_codes(gpu, first, second, o)) {
      few_rows::launch_with(gpu, first, second, o, plain);
    }
  };
  if (o.gated) {
    p.rows = p.ld;
    p.up_at = weights.size() == 1 ? p.rows : 0;
    return launch(weights.front(), weights.back());
  }
  for (const Tensor& part : weights) {
    p.rows = part.shape[0];
    launch(part, part);
    p.first += p.rows;
  }
}

}  // namespace sft::gpu
