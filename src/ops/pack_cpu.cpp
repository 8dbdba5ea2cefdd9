#include "formats/format.h"
#include "ops/pack.h"

namespace sft::cpu {

void pack(Device& /*device*/, const Tensor& x, Tensor& packed) { encode(x.f32(), packed); }

}  // namespace sft::cpu
