#include "core/tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"

namespace sft {

Shape::Shape(std::initializer_list<int64_t> dims) : Shape(std::vector<int64_t>(dims)) {}

Shape::Shape(const std::vector<int64_t>& dims) : rank_(static_cast<int>(dims.size())) {
  SFT_ASSERT(dims.size() <= kMaxRank);
  for (size_t i = 0; i < dims.size(); ++i) {
    dims_[i] = dims[i];
  }
}

int64_t elements_of(std::span<const int64_t> dims) {
  int64_t n = 1;
  for (const int64_t d : dims) {
    n *= d;
  }
  return n;
}

int64_t scale_tiles(int64_t length) { return (length + kScaleTile - 1) / kScaleTile; }

size_t scales_at(DType type, const Shape& shape) {
  const Packing& packing = packing_of(type);
  const int64_t blocks = (shape.elements() + packing.values - 1) / packing.values;
  return static_cast<size_t>((blocks * packing.bytes + 15) / 16 * 16);
}

size_t bytes_of(DType type, const Shape& shape) {
  if (!is_packed(type)) {
    return static_cast<size_t>(shape.elements()) * size_of(type);
  }
  const Packing& packing = packing_of(type);
  const auto blocks = static_cast<size_t>((shape.elements() + packing.values - 1) / packing.values);
  const size_t behind = scales_at(type, shape);
  switch (packing.scales) {
    case Packing::Scales::inside:
      return blocks * static_cast<size_t>(packing.bytes);
    case Packing::Scales::block:
      return behind + 4 * blocks;
    case Packing::Scales::nested:
      return behind + (blocks + 3) / 4 * 4 + 4 * ((blocks + 255) / 256) + 4;
    case Packing::Scales::row:
      return behind + 4 * static_cast<size_t>(shape.rank() == 0 ? 0 : shape[0]);
    case Packing::Scales::power:
      return behind + blocks;
    case Packing::Scales::tile:
      return behind + 4 * static_cast<size_t>(scale_tiles(shape[0]) * scale_tiles(shape[1]));
  }
  return 0;
}

std::string Shape::text() const { return fmt::format("({})", fmt::join(dims(), ", ")); }

}  // namespace sft
