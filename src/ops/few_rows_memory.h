// What the GPU's kernel of few rows holds of x in a multiprocessor's memory. Recording asks it
// whether a product fits, the kernel takes as much.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sft {

struct FewRowsMemory {
  static constexpr int64_t kMost = 4;  // rows of x
  // The kernel is made for one row and for kMost.
  static constexpr int64_t rows(int64_t rows) { return rows == 1 ? 1 : kMost; }
  // Of `values` numbers, in bytes: float32; beside it, where they are multiplied as codes, a byte
  // each, a float32 scale for 32 and a float32 sum for 8.
  static constexpr size_t bytes(int64_t values, bool codes) {
    return static_cast<size_t>(values * 4 +
                               (codes ? values + values / 32 * 4 + values / 8 * 4 : 0));
  }
  // What it has beside that: tables and sums.
  static constexpr int64_t kBeside = 2048;
};

}  // namespace sft
