// One function per family, each in its own file; families.cpp has the table.
#pragma once

#include "model/model.h"

namespace sft {

Family gemma3_family();
Family llama_family();
Family mistral_family();
Family qwen2_family();
Family qwen3_family();

}  // namespace sft
