// The rows of each letter, one file each. Used by core/error_codes.cpp alone.
#pragma once

#include "core/error_codes.h"

namespace sft {

CodeFamily configuration_codes();
CodeFamily data_codes();
CodeFamily model_codes();
CodeFamily memory_codes();
CodeFamily saving_codes();
CodeFamily network_codes();
CodeFamily program_codes();

}  // namespace sft
