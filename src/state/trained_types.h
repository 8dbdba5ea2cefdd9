// In which type what a model trains is held (Model::trained_type), where magnitudes (DoRA) need
// float32: one flat buffer has all of it.
#pragma once

#include <algorithm>

#include "model/model.h"

namespace sft {

// The type of the flat buffer.
inline DType held_type(const Model& model) {
  const bool magnitudes = std::ranges::any_of(
      model.trained, [](const ParamSpec& spec) { return spec.kind == ParamKind::magnitude; });
  return magnitudes ? DType::f32 : model.trained_type;
}

// Whether it holds, but for magnitudes, numbers of a narrower type, as TRL casts adapters on a base
// of bitsandbytes: a magnitude moves by less than bfloat16 can tell.
inline bool holds_narrower(const Model& model) { return held_type(model) != model.trained_type; }

}  // namespace sft
