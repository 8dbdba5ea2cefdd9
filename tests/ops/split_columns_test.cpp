#include "ops/split_columns.h"

#include <gtest/gtest.h>

#include "support/op_case.h"

namespace sft::testing {
namespace {

// What is to become of each column: (output, column there).
Numbers taken(const Numbers& x, int64_t columns, const ColumnRuns& runs) {
  Numbers y;
  for (size_t row = 0; row < x.size(); row += static_cast<size_t>(columns)) {
    for (const ColumnRun& run : runs.run) {
      for (int64_t i = 0; i < run.count; ++i) {
        for (int64_t k = 0; k < run.width; ++k) {
          y.push_back(x[row + static_cast<size_t>(run.from + i * run.stride + k)]);
        }
      }
    }
  }
  return y;
}

OpCase split_case(int64_t columns, const ColumnSplit& split) {
  OpCase c;
  c.operands = {activation({5, columns}, 1)};
  c.build = [split](Program& p, const std::vector<Value>& in) {
    const auto [first, second] = split_columns(p, in[0], split);
    return std::vector{first, second};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    return std::vector<Numbers>{taken(in[0], columns, split.first),
                                taken(in[0], columns, split.second)};
  };
  return c;
}

TEST(SplitColumns, queries_with_gates_and_what_follows_them) {
  for (const int64_t d : {6, 8}) {
    check_op(split_case(8 * d + 4 * d,
                        {{{{{0, d, 4, 2 * d}, {8 * d, 4 * d, 1, 0}}}}, {{{{d, d, 4, 2 * d}}}}}));
  }
}

TEST(SplitColumns, three_kinds_of_runs) {
  for (const int64_t k : {3, 16}) {
    const int64_t v = 2 * k, stride = 2 * k + 2 * v;
    check_op(
        split_case(3 * stride, {{{{{0, k, 3, stride}, {k, k, 3, stride}, {2 * k, v, 3, stride}}}},
                                {{{{2 * k + v, v, 3, stride}}}}}));
  }
}

TEST(SplitColumns, evenly) {
  for (const int64_t n : {3, 16}) {
    OpCase c;
    c.operands = {activation({5, 4 * n}, 1)};
    c.build = [](Program& p, const std::vector<Value>& in) { return split_evenly(p, in[0], 4); };
    c.reference = [n](const std::vector<Numbers>& in) {
      std::vector<Numbers> out;
      for (int64_t i = 0; i < 4; ++i) {
        out.push_back(taken(in[0], 4 * n, {{{{i * n, n, 1, n}}}}));
      }
      return out;
    };
    check_op(c);
  }
}

// The second part is there twice.
TEST(JoinColumns, values_and_gradients) {
  for (const int64_t n : {3, 16}) {
    OpCase c;
    c.operands = {activation({5, 2 * n}, 1), activation({5, n}, 2)};
    c.build = [](Program& p, const std::vector<Value>& in) {
      return std::vector{join_columns(p, {in[0], in[1], in[1]})};
    };
    c.reference = [n](const std::vector<Numbers>& in) {
      Numbers y;
      for (int64_t row = 0; row < 5; ++row) {
        const auto add = [&](const Numbers& x, int64_t columns) {
          y.insert(y.end(), x.begin() + row * columns, x.begin() + (row + 1) * columns);
        };
        add(in[0], 2 * n);
        add(in[1], n);
        add(in[1], n);
      }
      return std::vector<Numbers>{y};
    };
    check_op(c);
  }
}

}  // namespace
}  // namespace sft::testing
