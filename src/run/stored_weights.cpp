#include "run/stored_weights.h"

#include <algorithm>
#include <vector>

#include "model/experts.h"

namespace sft {

namespace {

// How a published matrix is kept; none: in the type that is computed in.
std::optional<DType> kept_type(const std::string& name, const ModelSource* source,
                               DeviceKind device) {
  if (source == nullptr) {
    return std::nullopt;
  }
  if (const std::optional<DType> stored = source->stored_type(name)) {
    return stored;
  }
  const DType type = source->stored_dtype();
  const bool narrow = type == DType::bf16 || type == DType::f16;
  return narrow && device == DeviceKind::cpu ? std::optional(type) : std::nullopt;
}

}  // namespace

void keep_as_stored(Model& shape, const ModelSource* source, DeviceKind device) {
  std::vector<ParamSpec> specs;
  for (const ParamSpec* const spec : shape.parameters()) {
    ParamSpec& kept = specs.emplace_back(*spec);
    kept.trained = false;
    // A router that is stored in float32 beside narrower weights stays so: experts may be close.
    if (kept.kind != ParamKind::matrix || holds_experts(kept.name) ||
        is_router(kept.name, shape.config)) {
      continue;
    }
    for (ParamPiece& piece : kept.pieces) {
      piece.stored = kept_type(piece.name, source, device);
    }
  }
  // Those that were frozen already stand behind the others, whatever their block.
  std::ranges::stable_sort(specs, {}, &ParamSpec::block);
  shape.set_parameters(std::move(specs));
}

}  // namespace sft
