#include "graph/parameter.h"

#include "core/error.h"

namespace sft {

ParamLayout layout_parameters(const std::vector<ParamSpec>& specs) {
  ParamLayout layout;
  int block = -1;
  for (const ParamSpec& spec : specs) {
    SFT_ASSERT(spec.block >= block);
    for (; block < spec.block; ++block) {
      layout.block_offsets.push_back(layout.elements);
    }
    layout.offsets.push_back(layout.elements);
    layout.elements += (spec.shape.elements() + kTile - 1) / kTile * kTile;
  }
  layout.block_offsets.push_back(layout.elements);
  return layout;
}

std::vector<NamedTensor> named_tensors(const std::vector<ParamSpec>& specs,
                                       const ParamLayout& layout, float* base) {
  std::vector<NamedTensor> tensors;
  for (size_t i = 0; i < specs.size(); ++i) {
    float* data = base + layout.offsets[i];
    for (const ParamPiece& piece : specs[i].pieces) {
      auto dims = specs[i].shape.dims();
      dims[0] = piece.rows;
      const Tensor view{data, Shape(dims), DType::f32};
      tensors.push_back({piece.name, view});
      data += view.shape.elements();
    }
    SFT_ASSERT(data == base + layout.offsets[i] + specs[i].shape.elements());
  }
  return tensors;
}

int64_t count_parameters(const std::vector<ParamSpec>& specs) {
  int64_t n = 0;
  for (const ParamSpec& spec : specs) {
    n += spec.shape.elements();
  }
  return n;
}

}  // namespace sft
