#include "graph/parameter.h"

#include <cstddef>

#include "core/error.h"

namespace sft {

namespace {

// `units(spec)`: what a parameter takes.
template <class Units>
ParamLayout lay_out(const std::vector<ParamSpec>& specs, int blocks, const Units& units) {
  ParamLayout layout;
  int block = -1;
  const auto begin_blocks = [&](int last) {
    for (; block < last; ++block) {
      layout.block_offsets.push_back(layout.elements);
    }
  };
  for (const ParamSpec& spec : specs) {
    SFT_ASSERT(spec.block >= block);
    begin_blocks(spec.block);
    layout.offsets.push_back(layout.elements);
    layout.elements += (units(spec) + kTile - 1) / kTile * kTile;
  }
  begin_blocks(blocks - 1);
  layout.block_offsets.push_back(layout.elements);
  return layout;
}

}  // namespace

Shape ParamSpec::shape_of(const ParamPiece& piece) const {
  auto dims = shape.dims();
  dims[0] = piece.rows;
  return Shape(dims);
}

ParamLayout layout_parameters(const std::vector<ParamSpec>& specs, int blocks) {
  return lay_out(specs, blocks, [](const ParamSpec& spec) { return spec.shape.elements(); });
}

ParamLayout layout_frozen(const std::vector<ParamSpec>& specs, int blocks, DType compute) {
  return lay_out(specs, blocks, [&](const ParamSpec& spec) {
    const Tensor view{nullptr, spec.shape, read_type(spec, compute)};
    return static_cast<int64_t>(view.bytes());
  });
}

std::vector<NamedTensor> named_tensors(const std::vector<ParamSpec>& specs,
                                       const ParamLayout& layout, void* base, DType type) {
  const auto width = static_cast<int64_t>(size_of(type));
  std::vector<NamedTensor> tensors;
  for (size_t i = 0; i < specs.size(); ++i) {
    auto* data = static_cast<std::byte*>(base) + layout.offsets[i] * width;
    const std::byte* const end = data + specs[i].shape.elements() * width;
    for (const ParamPiece& piece : specs[i].pieces) {
      const Tensor view{data, specs[i].shape_of(piece), type};
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
