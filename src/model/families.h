// The families, a line each. What a family is stands in its own file, <name>.cpp.
#pragma once

#include "model/model.h"

// clang-format off
#define SFT_FAMILIES(FAMILY) \
  FAMILY(llama)             \
  FAMILY(qwen2)             \
  FAMILY(qwen3)             \
  FAMILY(mistral)           \
  FAMILY(ministral3)        \
  FAMILY(gemma2)            \
  FAMILY(gemma3)            \
  FAMILY(gemma4)            \
  FAMILY(phi3)              \
  FAMILY(smollm3)           \
  FAMILY(olmo2)             \
  FAMILY(olmo3)             \
  FAMILY(granite)           \
  FAMILY(glm4)              \
  FAMILY(ernie4_5)          \
  FAMILY(hunyuan_v1_dense)  \
  FAMILY(starcoder2)        \
  FAMILY(cohere2)           \
  FAMILY(exaone4)           \
  FAMILY(seed_oss)          \
  FAMILY(qwen3_moe)         \
  FAMILY(mixtral)           \
  FAMILY(olmoe)             \
  FAMILY(gpt_oss)           \
  FAMILY(glm4_moe)          \
  FAMILY(qwen3_next)        \
  FAMILY(qwen3_5)           \
  FAMILY(qwen3_5_moe)       \
  FAMILY(lfm2)
// clang-format on

namespace sft {

#define SFT_DECLARE_FAMILY(name) Family name##_family();
SFT_FAMILIES(SFT_DECLARE_FAMILY)
#undef SFT_DECLARE_FAMILY

}  // namespace sft
