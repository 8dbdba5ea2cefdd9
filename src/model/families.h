// The families, a line each. What a family is stands in its own file, <name>.cpp.
#pragma once

#include "model/model.h"

// clang-format off
#define SFT_FAMILIES(FAMILY) \
  FAMILY(llama)              \
  FAMILY(qwen2)              \
  FAMILY(qwen3)              \
  FAMILY(mistral)            \
  FAMILY(gemma3)
// clang-format on

namespace sft {

#define SFT_DECLARE_FAMILY(name) Family name##_family();
SFT_FAMILIES(SFT_DECLARE_FAMILY)
#undef SFT_DECLARE_FAMILY

}  // namespace sft
