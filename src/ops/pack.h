// Weights into a packed format on the device that holds them: the codes of formats/ to the bit.
#pragma once

#include "device/kernel.h"

namespace sft {

// x float32, of packed's shape; packed in a type that formats/ can encode.
SFT_KERNEL(void, pack, const Tensor& x, Tensor& packed);

}  // namespace sft
