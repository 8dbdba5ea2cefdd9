// A product's columns in several values: where one published matrix gives what different ops read,
// head by head (the gated queries of Qwen3.5, Qwen3-Next's projections), and the way back (keys and
// values of another layer beside queries: Gemma 4).
#pragma once

#include <array>
#include <vector>

#include "device/kernel.h"
#include "graph/program.h"

namespace sft {

// `count` stretches of `width` columns, each `stride` after the one before; 0: none.
struct ColumnRun {
  int64_t from = 0, width = 0, count = 0, stride = 0;
  constexpr int64_t columns() const { return width * count; }
};
// The runs that make up an output, one behind the other.
struct ColumnRuns {
  static constexpr int kMost = 3;
  std::array<ColumnRun, kMost> run{};
  constexpr int64_t columns() const {
    return run[0].columns() + run[1].columns() + run[2].columns();
  }
};
struct ColumnSplit {
  ColumnRuns first, second;
};

// x (rows, columns) -> two values; every column goes to one of them.
std::pair<Value, Value> split_columns(Program& p, Value x, const ColumnSplit& split);

// x (rows, columns) -> `count` values of columns / count each, one behind the other.
std::vector<Value> split_evenly(Program& p, Value x, int count);

// Values of (rows, n) each, side by side; one may be there twice.
Value join_columns(Program& p, const std::vector<Value>& parts);

// y (rows, runs.columns()) = the runs of x; `put_columns` is the way back, which writes those
// columns of x alone, zeros where y has no data.
SFT_KERNEL(void, take_columns, const Tensor& x, const ColumnRuns& runs, Tensor& y);
SFT_KERNEL(void, put_columns, const Tensor& y, const ColumnRuns& runs, Tensor& x);

}  // namespace sft
