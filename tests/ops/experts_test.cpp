#include "ops/experts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/rng.h"
#include "support/op_case.h"

namespace sft::testing {
namespace {

struct Sizes {
  std::vector<int> starts;  // of the groups' rows, and the end
  int64_t in, out;
  int64_t rank = 0;  // of an adapter; 0: none
  bool turned = false, bias = false;
};

// y = x weight_g^T for each group's rows, or x weight_g.
Numbers product(const Numbers& x, const Numbers& weight, const Sizes& s, int64_t in, int64_t out,
                bool turned) {
  Numbers y(x.size() / static_cast<size_t>(in) * static_cast<size_t>(out));
  for (size_t g = 0; g + 1 < s.starts.size(); ++g) {
    const Numbers::const_iterator own = weight.begin() + static_cast<int64_t>(g) * in * out;
    for (int64_t row = s.starts[g]; row < s.starts[g + 1]; ++row) {
      for (int64_t i = 0; i < out; ++i) {
        double sum = 0;
        for (int64_t k = 0; k < in; ++k) {
          sum += x[static_cast<size_t>(row * in + k)] * own[turned ? k * out + i : i * in + k];
        }
        y[static_cast<size_t>(row * out + i)] = sum;
      }
    }
  }
  return y;
}

constexpr float kScale = 0.5F;

OpCase linear_case(const Sizes& s) {
  const auto groups = static_cast<int64_t>(s.starts.size()) - 1;
  const auto shape = [&](int64_t out, int64_t in) { return Shape{groups * out, in}; };
  const Shape weight = s.turned ? Shape{groups, s.in, s.out} : shape(s.out, s.in);
  const double spread = 1.0 / std::sqrt(static_cast<double>(s.in));
  OpCase c;
  c.operands = {activation({s.starts.back(), s.in}, 1), parameter(weight, 2, spread),
                indices(s.starts)};
  if (s.rank > 0) {
    c.operands.push_back(parameter(shape(s.rank, s.in), 3, spread));
    c.operands.push_back(parameter({s.out, s.rank * groups}, 4, 0.3));
  }
  if (s.bias) {
    c.operands.push_back(parameter({groups * s.out}, 5));
  }
  c.build = [s, groups](Program& p, const std::vector<Value>& in) {
    GroupedLinear layer{{in[1], s.bias ? in.back() : Value{}, {}}, s.turned};
    if (s.rank > 0) {
      layer.layer.lora.push_back({in[3], in[4], {{0, s.out, kScale}}});
    }
    return std::vector{grouped_linear(p, in[0], in[2], layer, static_cast<int>(groups))};
  };
  c.reference = [s](const std::vector<Numbers>& in) {
    Numbers y = product(in[0], in[1], s, s.in, s.out, s.turned);
    if (s.rank > 0) {
      const Numbers low = product(in[0], in[3], s, s.in, s.rank, false);
      const size_t count = s.starts.size() - 1;
      Numbers b(in[4].size());  // expert by expert
      for (size_t i = 0; i < b.size(); ++i) {
        const auto rank = static_cast<size_t>(s.rank);
        const size_t row = i / (rank * count), k = i / count % rank, g = i % count;
        b[(g * static_cast<size_t>(s.out) + row) * rank + k] = in[4][i];
      }
      const Numbers more = product(low, b, s, s.rank, s.out, false);
      for (size_t i = 0; i < y.size(); ++i) {
        y[i] += kScale * more[i];
      }
    }
    for (size_t g = 0; s.bias && g + 1 < s.starts.size(); ++g) {
      for (int64_t row = s.starts[g]; row < s.starts[g + 1]; ++row) {
        for (int64_t i = 0; i < s.out; ++i) {
          y[static_cast<size_t>(row * s.out + i)] +=
              in.back()[g * static_cast<size_t>(s.out) + static_cast<size_t>(i)];
        }
      }
    }
    return std::vector<Numbers>{y};
  };
  return c;
}

TEST(GroupedLinear, values_and_gradients) {
  for (const bool turned : {false, true}) {
    check_op(linear_case({{0, 3, 3, 7}, 5, 4, 0, turned}));
    check_op(linear_case({{0, 0, 2, 2, 2, 9}, 6, 3, 2, turned, true}));
    check_op(linear_case({{0, 6}, 4, 5, 3, turned}));
  }
}

// Many groups, of which some are empty: each is one thread's.
TEST(GroupedLinear, more_groups_than_threads) {
  check_op(linear_case({{0, 1, 1, 4, 4, 4, 5, 9, 10, 12, 12, 12, 15}, 3, 6, 2}));
}

// Sizes at which a GPU's tiles are whole, cut by a group's end, by the columns' and by the sums'.
TEST(GroupedLinear, sizes_of_a_gpus_tiles) {
  for (const bool turned : {false, true}) {
    for (const Sizes& s : {Sizes{{0, 130, 130, 133, 200}, 72, 136, 8, turned, true},
                           Sizes{{0, 1, 129, 129}, 136, 24, 16, turned},
                           Sizes{{0, 70, 70, 270, 330}, 96, 264, 24, turned}}) {
      OpCase c = linear_case(s);
      c.checked = 4;
      check_op(c);
    }
  }
}

// Many tiles of one short step, of which one half of a block often has no rows: on a card of
// compute capability 9.0 what computes in 16 bits is compared with the plain tiles of float32.
TEST(GroupedLinear, many_tiles_that_half_a_block_has_no_rows_of) {
  if (test_gpu() == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  constexpr int kGroups = 32, kRows = 4 * 128 + 48;
  Sizes s{{0}, 64, 1024};
  for (int g = 0; g < kGroups; ++g) {
    s.starts.push_back(s.starts.back() + kRows);
  }
  s.rank = 16;
  s.turned = true;
  const OpCase c = linear_case(s);
  const OpRun half{.device = test_gpu(), .compute = DType::bf16};
  const OpResult once = run_op(c, half);
  const OpResult plain = run_op(c, {.device = test_gpu()});
  EXPECT_EQ(once.outputs, run_op(c, half).outputs);
  double difference = 0.0, size = 0.0;
  for (size_t i = 0; i < plain.outputs[0].size(); ++i) {
    difference += std::pow(double{once.outputs[0][i]} - plain.outputs[0][i], 2);
    size += std::pow(plain.outputs[0][i], 2);
  }
  EXPECT_LT(std::sqrt(difference / size), 0.01);
}

TEST(GroupedLinear, no_row_at_all) {
  const OpResult r = run_op(linear_case({{0, 0, 0}, 3, 4, 2}));
  EXPECT_EQ(r.gradients[1], std::vector<float>(24, 0.0F));
  EXPECT_EQ(r.gradients[3], std::vector<float>(12, 0.0F));
}

// Tokens to their experts and back: sum of weight * x of each row, doubled by what lies between.
OpCase round_trip(int64_t tokens, int64_t width, int chosen, const std::vector<int>& experts,
                  int groups) {
  OpCase c;
  c.operands = {activation({tokens, width}, 1), norm_weight({tokens, chosen}, 2), indices(experts)};
  c.operands[2].shape = {tokens, chosen};
  c.build = [groups](Program& p, const std::vector<Value>& in) {
    const Dispatch d = dispatch(p, {in[1], in[2]}, groups);
    return std::vector{from_experts(p, to_experts(p, in[0], d), d)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    Numbers y;
    for (size_t t = 0; t < static_cast<size_t>(tokens); ++t) {
      double sum = 0;
      for (size_t i = 0; i < static_cast<size_t>(chosen); ++i) {
        sum += in[1][t * static_cast<size_t>(chosen) + i];
      }
      for (size_t i = 0; i < static_cast<size_t>(width); ++i) {
        y.push_back(sum * in[0][t * static_cast<size_t>(width) + i]);
      }
    }
    return std::vector<Numbers>{y};
  };
  return c;
}

std::vector<int> drawn_experts(int64_t tokens, int chosen, int groups) {
  std::vector<int> out;
  for (int64_t t = 0; t < tokens; ++t) {
    std::vector<int> order(static_cast<size_t>(groups));
    std::iota(order.begin(), order.end(), 0);
    std::ranges::sort(order, {}, [&](int e) {
      return normal(7, static_cast<uint64_t>(t), static_cast<uint64_t>(e));
    });
    out.insert(out.end(), order.begin(), order.begin() + chosen);
  }
  return out;
}

TEST(Experts, tokens_go_to_their_experts_and_come_back) {
  check_op(round_trip(3, 4, 2, {1, 0, 1, 4, 0, 4}, 5));
  check_op(round_trip(50, 24, 3, drawn_experts(50, 3, 7), 7));
  check_op(round_trip(300, 8, 4, drawn_experts(300, 4, 60), 60));
}

// Every pair of a token and an expert has a row; rows stand by expert, and by token within one.
TEST(Experts, sorting_drops_nothing_and_keeps_the_tokens_order) {
  constexpr int64_t kTokens = 700;
  constexpr int kChosen = 5, kGroups = 37;
  const std::vector<int> experts = drawn_experts(kTokens, kChosen, kGroups);
  for (const OpRun& options : runs_everywhere()) {
    OpCase c;
    c.operands = {indices(experts)};
    c.operands[0].shape = {kTokens, kChosen};
    c.build = [](Program& p, const std::vector<Value>& in) {
      const Dispatch d = dispatch(p, {p.make("weights", {kTokens, kChosen}), in[0]}, kGroups);
      std::vector<Value> out;
      for (const Value v : {d.starts, d.rows, d.slots}) {
        out.push_back(p.make("numbers", p.shape(v)));
        p.emit("to numbers", {v}, {out.back()}, [](const sft::Run& r) {
          std::vector<int32_t> numbers(static_cast<size_t>(r.in(0).shape.elements()));
          r.device().download(numbers.data(), r.in(0).data, r.in(0).bytes());
          const std::vector<float> floats(numbers.begin(), numbers.end());
          r.device().upload(r.out(0).data, floats.data(), r.out(0).bytes());
        });
      }
      return out;
    };
    OpRun forward = options;
    forward.training = false;
    const OpResult r = run_op(c, forward);
    std::vector<float> starts, rows, slots(experts.size());
    for (int g = 0; g < kGroups; ++g) {
      starts.push_back(static_cast<float>(rows.size()));
      for (size_t i = 0; i < experts.size(); ++i) {
        if (experts[i] == g) {
          slots[i] = static_cast<float>(rows.size());
          rows.push_back(static_cast<float>(i / kChosen));
        }
      }
    }
    starts.push_back(static_cast<float>(rows.size()));
    EXPECT_EQ(r.outputs[0], starts);
    EXPECT_EQ(r.outputs[1], rows);
    EXPECT_EQ(r.outputs[2], slots);
  }
}

}  // namespace
}  // namespace sft::testing
