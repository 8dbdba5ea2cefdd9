#include "graph/parameter.h"

#include <cstddef>

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
                                       const ParamLayout& layout, void* base, DType type) {
  const auto width = static_cast<int64_t>(size_of(type));
  std::vector<NamedTensor> tensors;
  for (size_t i = 0; i < specs.size(); ++i) {
    auto* data = static_cast<std::byte*>(base) + layout.offsets[i] * width;
    const std::byte* const end = data + specs[i].shape.elements() * width;
    for (const ParamPiece& piece : specs[i].pieces) {
      auto dims = specs[i].shape.dims();
      dims[0] = piece.rows;
      const Tensor view{data, Shape(dims), type};
      tensors.push_back({piece.name, view});
      data += view.bytes();
    }
    SFT_ASSERT(data == end);
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
