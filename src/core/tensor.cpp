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

int64_t Shape::elements() const {
  int64_t n = 1;
  for (int i = 0; i < rank_; ++i) {
    n *= dims_[static_cast<size_t>(i)];
  }
  return n;
}

std::string Shape::text() const { return fmt::format("({})", fmt::join(dims(), ", ")); }

}  // namespace sft
