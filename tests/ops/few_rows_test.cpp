// Products of a few rows against what the formula gives, in every format that a weight may be in.
#include "ops/few_rows.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "formats/format.h"
#include "formats/ggml_encode.h"
#include "support/op_case.h"

namespace sft::testing {
namespace {

const std::vector<DType> kGgml{DType::q8_0, DType::q4_0, DType::q4_1, DType::q5_0,
                               DType::q5_1, DType::q4_k, DType::q5_k, DType::q6_k};

bool is_ggml(DType type) { return std::ranges::find(kGgml, type) != kGgml.end(); }

Operand weight(Shape shape, DType type, uint64_t seed) {
  if (!is_ggml(type)) {
    return frozen(shape, type, seed, 0.2);
  }
  Operand o = frozen(shape, DType::f32, seed, 0.2);
  o.dtype = type;
  o.packed.resize(bytes_of(type, shape));
  std::vector<float> floats(o.values.begin(), o.values.end());
  EXPECT_TRUE(encode_ggml(*find_gguf_type(type), floats.data(), shape.elements(), o.packed.data()));
  decode({o.packed.data(), shape, type}, floats.data(), nullptr);
  o.values.assign(floats.begin(), floats.end());
  return o;
}

// x as it is rounded for ggml's blocks: 8 bits, a scale for 32.
Numbers rounded(Numbers x) {
  for (size_t begin = 0; begin < x.size(); begin += 32) {
    double most = 0;
    for (size_t i = begin; i < begin + 32; ++i) {
      most = std::max(most, std::abs(x[i]));
    }
    for (size_t i = begin; i < begin + 32; ++i) {
      x[i] = most == 0 ? 0 : std::nearbyint(x[i] / most * 127) * most / 127;
    }
  }
  return x;
}

struct Case {
  int64_t rows, in;
  std::vector<DType> parts;
  std::vector<int64_t> part_rows;
  bool normed = false, bias = false, gated = false, accumulate = false;
  float alpha = 1.0F;
  std::string words() const {
    std::string types;
    for (const DType part : parts) {
      types += std::string(name_of(part)) + " ";
    }
    return fmt::format("{}x {} rows of {}, normed {}, bias {}, gated {}, added {}", types, rows, in,
                       normed, bias, gated, accumulate);
  }
};

constexpr double kEps = 1e-5;

// What `c` gives in double.
Numbers reference(const Case& c, const std::vector<Operand>& operands) {
  const auto in = static_cast<size_t>(c.in);
  Numbers x = operands[0].values;
  if (c.normed) {
    for (size_t r = 0; r < x.size() / in; ++r) {
      double squares = 0;
      for (size_t i = 0; i < in; ++i) {
        squares += x[r * in + i] * x[r * in + i];
      }
      for (size_t i = 0; i < in; ++i) {
        x[r * in + i] *=
            operands[1].values[i] / std::sqrt(squares / static_cast<double>(in) + kEps);
      }
    }
  }
  const Numbers codes = rounded(x);
  Numbers y;
  for (int64_t r = 0; r < c.rows; ++r) {
    Numbers row;
    for (size_t part = 0; part < c.parts.size(); ++part) {
      const Numbers& w = operands[4 + part].values;
      const Numbers& from = is_ggml(c.parts[part]) ? codes : x;
      for (size_t o = 0; o < w.size() / in; ++o) {
        double sum = 0;
        for (size_t i = 0; i < in; ++i) {
          sum += from[static_cast<size_t>(r) * in + i] * w[o * in + i];
        }
        row.push_back(c.alpha * sum + (c.bias ? operands[2].values[row.size()] : 0.0));
      }
    }
    if (c.gated) {
      const size_t half = row.size() / 2;
      for (size_t i = 0; i < half; ++i) {
        row[i] = row[i] / (1 + std::exp(-row[i])) * row[i + half];
      }
      row.resize(half);
    }
    for (double& value : row) {
      value += c.accumulate ? operands[3].values[y.size()] : 0.0;
      y.push_back(value);
    }
  }
  return y;
}

// Whether what a multiprocessor holds of x is more than a GPU has; see few_rows_memory.h.
bool is_too_much(const Case& c, int64_t shared_memory) {
  const bool codes = std::ranges::any_of(c.parts, is_ggml);
  const int64_t held = (c.rows == 1 ? 1 : 4) * c.in * (codes ? 45 : 32) / 8;
  return shared_memory > 0 && held + 2048 > shared_memory;
}

void check(const Case& c) {
  SCOPED_TRACE(c.words());
  if (test_gpu() != nullptr && is_too_much(c, test_gpu()->shared_memory())) {
    return;  // refused: are_taken_where_what_is_held_of_them_fits_the_card
  }
  int64_t out = 0;
  for (const int64_t rows : c.part_rows) {
    out += rows;
  }
  OpCase op;
  op.operands = {activation({c.rows, c.in}, 1), norm_weight({c.in}, 2), activation({out}, 3),
                 activation({c.rows, c.gated ? out / 2 : out}, 4)};
  for (size_t part = 0; part < c.parts.size(); ++part) {
    op.operands.push_back(weight({c.part_rows[part], c.in}, c.parts[part], 5 + part));
    op.operands.back().kind = Operand::Kind::frozen;
  }
  op.build = [&](Program& p, const std::vector<Value>& in) {
    std::vector<Value> parts(in.begin() + 4, in.end());
    Linear layer{
        parts.size() == 1 ? parts[0] : p.group("weight", parts), c.bias ? in[2] : Value{}, {}};
    EXPECT_TRUE(takes_few_rows(p, c.rows, layer));
    FewRows how;
    how.alpha = c.alpha;
    if (c.normed) {
      how.norm = RmsNorm{static_cast<float>(kEps), 0.0F};
    }
    if (c.gated) {
      EXPECT_TRUE(takes_few_gated_rows(p, c.rows, layer));
      how.gated = Activation::silu;
    }
    const Value y = p.like(in[3], "y");
    if (c.accumulate) {
      p.emit("copy", {in[3]}, {y}, [](const Run& r) { r.device().add(r.in(0), r.out(0), false); });
    }
    emit_few_rows(p, in[0], c.normed ? in[1] : Value{}, layer, how,
                  {y, c.accumulate ? Output::Mode::add : Output::Mode::overwrite});
    return std::vector{y};
  };
  std::vector<OpRun> runs = runs_everywhere();
  if (test_gpu() != nullptr) {
    runs.push_back({.device = test_gpu(), .compute = DType::bf16});
  }
  for (OpRun& run : runs) {
    run.training = false;
    const OpResult got = run_op(op, run);
    const Numbers want = reference(c, op.operands);
    double most = 0;
    for (const double value : want) {
      most = std::max(most, std::abs(value));
    }
    ASSERT_EQ(got.outputs[0].size(), want.size());
    // A code may fall to the other side of a half.
    const bool ggml = std::ranges::any_of(c.parts, is_ggml);
    const double tolerance = run.compute == DType::bf16 ? 3e-2 : ggml ? 3e-4 : 3e-6;
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_NEAR(got.outputs[0][i], want[i], tolerance * most) << "value " << i;
    }
  }
}

TEST(FewRows, of_a_weight_in_any_format_are_the_products) {
  for (int t = 0; t <= static_cast<int>(DType::f8_blocks); ++t) {
    const auto type = static_cast<DType>(t);
    if (type == DType::i32 || type == DType::i64 || type == DType::u8 || type == DType::i8_rows ||
        type == DType::f8_blocks) {
      continue;
    }
    for (const int64_t rows : {1, 2, 3, 4}) {
      check({rows, 512, {type}, {37}});
      check({rows, 512, {type}, {38}, true, true});
    }
  }
}

TEST(FewRows, join_the_activation_and_the_residual) {
  for (const DType type : {DType::f32, DType::bf16, DType::q8_0, DType::q4_k, DType::nf4}) {
    for (const int64_t rows : {1, 3}) {
      check({rows, 256, {type}, {66}, true, false, true});
      check({rows, 256, {type, type}, {33, 33}, true, true, true});
      check({rows, 256, {type}, {35}, false, true, false, true, 1.0F});
      check({rows, 256, {type}, {35}, false, false, false, true, 0.25F});
    }
  }
}

TEST(FewRows, take_parts_of_other_types_and_any_number_of_rows) {
  check({1, 256, {DType::q4_k, DType::q4_k, DType::q6_k}, {64, 16, 16}, true, true});
  check({2, 256, {DType::f16, DType::f32}, {1, 3}});
  check({1, 32, {DType::bf16}, {5000}});
  check({1, 8192, {DType::bf16}, {40}, true});
  check({4, 4864, {DType::bf16}, {12}});
}

// 64 KiB are a T4's, 99 an RTX 4090's, 227 an H100's; 0 is not bounded.
TEST(FewRows, are_taken_where_what_is_held_of_them_fits_the_card) {
  for (const DType type : {DType::bf16, DType::nf4, DType::q8_0, DType::q4_k}) {
    for (const int64_t kib : {0, 64, 96, 99, 163, 227}) {
      for (const int64_t in : {2048, 4096, 8192, 12288, 14336, 21504}) {
        for (int64_t rows = 1; rows <= FewRows::kMost; ++rows) {
          Program p(Program::Purpose::inference, Recompute::none,
                    {DeviceKind::cuda, DType::bf16, kib << 10});
          Linear layer;
          layer.weight = p.parameter(0, "weight", {256, in}, type, false);
          EXPECT_EQ(takes_few_rows(p, rows, layer),
                    rows * in <= (24 << 10) && !is_too_much({rows, in, {type}, {}}, kib << 10))
              << name_of(type) << ' ' << kib << ' ' << in << ' ' << rows;
        }
      }
    }
  }
}

TEST(FewRows, do_not_depend_on_threads) {
  OpCase op;
  op.operands = {activation({3, 256}, 1), weight({300, 256}, DType::q4_k, 2)};
  op.build = [](Program& p, const std::vector<Value>& in) {
    return std::vector{few_rows_linear(p, in[0], {in[1], {}, {}})};
  };
  const OpResult one = run_op(op, {.threads = 1, .training = false});
  EXPECT_EQ(run_op(op, {.threads = 3, .training = false}).outputs, one.outputs);
}

}  // namespace
}  // namespace sft::testing
