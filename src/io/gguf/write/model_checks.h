// What a model must be so that a GGUF file of its family says all of it: the runtime takes some
// settings for granted. Used by the keys of a model.
#pragma once

#include "core/json.h"
#include "io/gguf/family.h"
#include "model/model.h"

namespace sft {

// M284 names a setting that the file has no key for and the runtime takes to be another one.
void check_gguf_model(const GgufFamily& family, const Json& config, const ModelConfig& model);

}  // namespace sft
