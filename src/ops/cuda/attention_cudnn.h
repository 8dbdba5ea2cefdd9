// cuDNN's fused attention over documents of different lengths laid end to end. Used by
// attention_cuda.cu where cuDNN is found and takes the shape.
#pragma once

#include <memory>

#include "device/cuda/cuda_device.h"
#include "ops/attention.h"

namespace sft {

// What a plan is made for: all of it fixed but the contents of the documents.
struct FusedAttentionShape {
  int heads, kv_heads, head_dim, window;
  float scale;
  int64_t documents, longest, most_tokens;
  DType type;
  auto operator<=>(const FusedAttentionShape&) const = default;
};

class FusedAttention {
 public:
  explicit FusedAttention(CudaDevice& device);
  ~FusedAttention();

  // Whether cuDNN takes this shape; makes its plans on the first call.
  bool takes(const FusedAttentionShape& shape);
  // See cpu::attention_forward and cpu::attention_backward; log_sum (tokens, heads).
  void forward(const FusedAttentionShape& shape, const Tensor& qkv, const Tensor& table, Tensor& y,
               Tensor& log_sum);
  void backward(const FusedAttentionShape& shape, const Tensor& grad_y, const Tensor& qkv,
                const Tensor& y, const Tensor& log_sum, const Tensor& table, Tensor& grad_qkv);

 private:
  struct Plans;
  class Library;
  std::unique_ptr<Library> library_;
};

}  // namespace sft
