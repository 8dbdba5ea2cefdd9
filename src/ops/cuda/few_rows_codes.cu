#include "ops/cuda/few_rows.cuh"

namespace sft::few_rows {

bool product_of_codes(CudaDevice& gpu, const Tensor& first, const Tensor& second,
                      const Operands& operands) {
  return launch_with(gpu, first, second, operands,
                     [](CudaDevice& device, const Tensor& x, const auto& f) {
                       return packed::with_codes<false>(device, x, f);
                     });
}

}  // namespace sft::few_rows
