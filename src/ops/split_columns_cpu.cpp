#include "ops/split_columns.h"

#include <algorithm>

namespace sft::cpu {

namespace {

// move(column of x, column of y, how many) for each stretch.
template <class Move>
void for_each_stretch(const ColumnRuns& runs, const Move& move) {
  int64_t to = 0;
  for (const ColumnRun& run : runs.run) {
    for (int64_t i = 0; i < run.count; ++i, to += run.width) {
      move(run.from + i * run.stride, to, run.width);
    }
  }
}

}  // namespace

void take_columns(Device& device, const Tensor& x, const ColumnRuns& runs, Tensor& y) {
  device.threads().parallel_for(x.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* const from = x.f32() + row * x.shape[1];
      float* const to = y.f32() + row * y.shape[1];
      for_each_stretch(runs,
                       [&](int64_t a, int64_t b, int64_t n) { std::copy_n(from + a, n, to + b); });
    }
  });
}

void put_columns(Device& device, const Tensor& y, const ColumnRuns& runs, Tensor& x) {
  device.threads().parallel_for(x.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* const to = x.f32() + row * x.shape[1];
      for_each_stretch(runs, [&](int64_t a, int64_t b, int64_t n) {
        if (y.data == nullptr) {
          std::fill_n(to + a, n, 0.0F);
        } else {
          std::copy_n(y.f32() + row * runs.columns() + b, n, to + a);
        }
      });
    }
  });
}

}  // namespace sft::cpu
