// What must hold for the plan of any program, on thousands of random ones.
#include "graph/planner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace sft {
namespace {

void nothing(const Run&) {}

struct Span {
  int first = 1 << 30, last = -1;
  int aside = -1;  // the last instruction beside which it is read
};

// From the first to the last instruction that touches a value, or beside which it is read.
std::vector<Span> spans_of(const Program& p) {
  std::vector<Span> spans(p.values().size());
  const std::vector<int> joins = join_points(p);
  const auto end = static_cast<int>(p.instructions().size());
  for (int i = 0; i < end; ++i) {
    const auto touch = [&](Value v) {
      if (v) {
        Span& s = spans[static_cast<size_t>(v.id)];
        s = {std::min(s.first, i), std::max(s.last, i), s.aside};
      }
    };
    const Instruction& instruction = p.instructions()[static_cast<size_t>(i)];
    std::ranges::for_each(instruction.in, touch);
    if (const int join = joins[static_cast<size_t>(i)]; join >= 0) {
      for (const Value v : instruction.in) {
        if (v) {
          Span& s = spans[static_cast<size_t>(v.id)];
          s.last = std::max(s.last, join - 1);
          s.aside = std::max(s.aside, join - 1);
        }
      }
    }
    std::ranges::for_each(instruction.out, [&](const Output& o) { touch(o.value); });
  }
  for (size_t v = 0; v < spans.size(); ++v) {
    if (p.values()[v].kept && spans[v].last >= 0) {
      spans[v].last = end;
    }
  }
  return spans;
}

int64_t bytes_of(const ValueInfo& info) {
  return info.shape.elements() * static_cast<int64_t>(size_of(info.dtype));
}

// Whether instruction `at` was asked to write value b over value a.
bool asks_for(const Program& p, int at, Value a, Value b) {
  const Instruction& i = p.instructions()[static_cast<size_t>(at)];
  return i.reuse_in >= 0 && i.in[static_cast<size_t>(i.reuse_in)] == a && i.out[0].value == b &&
         i.out[0].mode == Output::Mode::overwrite;
}

// Returns how many values were written over another.
int check_plan(const Program& p) {
  const Plan plan = plan_memory(p);
  const std::vector<Span> spans = spans_of(p);
  const auto n = static_cast<int>(p.values().size());
  int reused = 0;
  int64_t sum = 0;
  for (int a = 0; a < n; ++a) {
    const Value va{a};
    const ValueInfo& info = p.info(va);
    const int64_t at = plan.offsets[static_cast<size_t>(a)];
    const Span& mine = spans[static_cast<size_t>(a)];
    if (info.kind != ValueInfo::Kind::arena) {
      EXPECT_EQ(at >= 0, info.kind == ValueInfo::Kind::host);
      continue;
    }
    if (mine.last < 0) {
      continue;
    }
    EXPECT_GE(at, 0);
    EXPECT_EQ(at % 64, 0);
    EXPECT_LE(at + bytes_of(info), plan.bytes);
    sum += (bytes_of(info) + 63) / 64 * 64;
    for (int b = 0; b < a; ++b) {
      const Value vb{b};
      const Span& other = spans[static_cast<size_t>(b)];
      const int64_t there = plan.offsets[static_cast<size_t>(b)];
      const bool meet = mine.first <= other.last && other.first <= mine.last;
      const bool overlap = at < there + bytes_of(p.info(vb)) && there < at + bytes_of(info);
      if (there < 0 || other.last < 0 || !meet || !overlap ||
          p.info(vb).kind != ValueInfo::Kind::arena) {
        continue;
      }
      // Alive at one time in one place: only at the instruction where one dies and the other, of
      // the same size, asked for its place.
      const bool granted = (mine.first == other.last && other.aside < mine.first &&
                            asks_for(p, mine.first, vb, va)) ||
                           (other.first == mine.last && mine.aside < other.first &&
                            asks_for(p, other.first, va, vb));
      EXPECT_TRUE(granted && at == there) << "values " << a << " and " << b;
      ++reused;
    }
  }
  EXPECT_EQ(plan.sum_of_values, sum);
  EXPECT_LE(plan.bytes, plan.sum_of_values);
  return reused;
}

class RandomPrograms {
 public:
  explicit RandomPrograms(uint32_t seed) : random_(seed) {}
  int below(int n) { return static_cast<int>(random_() % static_cast<uint32_t>(n)); }

  // A soup of instructions: values of few sizes, read or written at any later time.
  Program soup() {
    Program p(Program::Purpose::inference, Recompute::none);
    std::vector<Value> values{p.input("x", {16}, DType::f32)};
    const int length = 1 + below(30);
    for (int i = 0; i < length; ++i) {
      std::vector<Value> in;
      for (int k = below(4); k-- > 0;) {
        in.push_back(below(8) == 0 ? Value() : any(values));
      }
      std::vector<Output> out;
      for (int k = 1 + below(2); k-- > 0;) {
        if (values.size() > 3 && below(6) == 0) {
          out.emplace_back(any(values), Output::Mode::add);
        } else {
          values.push_back(p.make("v", {int64_t{16} << below(4)}));
          out.emplace_back(values.back());
        }
      }
      const int reuse = in.empty() || below(2) == 0 ? -1 : below(static_cast<int>(in.size()));
      p.emit("op", std::move(in), std::move(out), nothing, reuse);
      if (below(5) == 0) {
        p.keep(any(values));
      }
    }
    return p;
  }

  // Blocks of ops with backward passes, as models have them.
  Program network(MemoryPolicy memory) {
    Program p(Program::Purpose::training, memory);
    const Value weight = p.parameter(0, "w", {64}, DType::f32, true);
    std::vector<Value> values{op(p, {weight})};
    const int blocks = 1 + below(4);
    for (int block = 0; block < blocks; ++block) {
      p.begin_block(block);
      for (int i = below(6); i >= 0; --i) {
        values.push_back(op(p, {any(values), any(values)}));
      }
      p.end_block();
    }
    p.emit("loss", {values.back()}, {p.grad_out(values.back())}, nothing);
    p.differentiate();
    return p;
  }

 private:
  Value any(const std::vector<Value>& values) {
    return values[static_cast<size_t>(below(static_cast<int>(values.size())))];
  }

  Value op(Program& p, std::vector<Value> in) {
    const Value y = p.make("y", {1, 64});
    const bool in_place = below(2) == 0;
    const bool shares = below(3) == 0;
    const bool reads_output = below(2) == 0;
    p.emit("op", in, {y}, nothing, in_place && !reads_output ? 0 : -1);
    p.recompute_from(static_cast<Recompute>(1 + below(3)));
    p.on_backward([=](Program& b) {
      if (!b.has_grad(y)) {
        return;
      }
      for (const Value x : in) {
        if (shares && b.info(x).kind == ValueInfo::Kind::arena) {
          b.share_grad(x, b.grad(y));
        } else {
          b.emit("op.backward", {b.grad(y), reads_output ? y : x}, {b.grad_out(x)}, nothing, 0);
          if (b.info(x).kind == ValueInfo::Kind::parameter) {
            b.run_aside();
          }
        }
      }
    });
    return y;
  }

  std::mt19937 random_;
};

TEST(Planner, no_two_living_values_share_memory) {
  int reused = 0;
  for (uint32_t seed = 0; seed < 3000 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    reused += check_plan(RandomPrograms(seed).soup());
  }
  EXPECT_GT(reused, 1000);  // or the test would not see what it is about
}

TEST(Planner, nor_do_those_of_differentiated_programs) {
  for (const MemoryPolicy memory :
       {MemoryPolicy(Recompute::none), MemoryPolicy(Recompute::norms), MemoryPolicy(Recompute::mlp),
        MemoryPolicy(Recompute::block), MemoryPolicy(Recompute::none, true),
        MemoryPolicy(Recompute::block, true)}) {
    int reused = 0;
    for (uint32_t seed = 0; seed < 1500 && !::testing::Test::HasFailure(); ++seed) {
      SCOPED_TRACE(seed);
      reused += check_plan(RandomPrograms(seed).network(memory));
    }
    EXPECT_GT(reused, 500);
  }
}

TEST(Planner, a_chain_needs_two_places_and_in_place_one) {
  for (const int reuse : {-1, 0}) {
    Program p(Program::Purpose::inference, Recompute::none);
    Value x = p.input("x", {256}, DType::f32);
    for (int i = 0; i < 10; ++i) {
      const Value y = p.make("y", {256});
      p.emit("op", {x}, {y}, nothing, reuse);
      x = y;
    }
    EXPECT_EQ(plan_memory(p).bytes, reuse == 0 ? 1024 : 2048);
    EXPECT_EQ(plan_memory(p).sum_of_values, 10240);
  }
}

TEST(Planner, an_input_is_never_written_over) {
  Program p(Program::Purpose::inference, Recompute::none);
  const Value x = p.input("x", {16}, DType::f32);
  const Value y = p.make("y", {16});
  p.emit("op", {x}, {y}, nothing, 0);
  EXPECT_GE(plan_memory(p).offsets[static_cast<size_t>(y.id)], 0);
  EXPECT_EQ(plan_memory(p).offsets[static_cast<size_t>(x.id)], -1);
}

TEST(Planner, what_is_kept_keeps_its_memory_to_the_end) {
  for (const bool keep : {false, true}) {
    Program p(Program::Purpose::inference, Recompute::none);
    const Value x = p.input("x", {16}, DType::f32);
    const Value result = p.make("result", {16});
    const Value later = p.make("later", {16});
    p.emit("op", {x}, {result}, nothing);
    p.emit("op", {x}, {later}, nothing);
    if (keep) {
      p.keep(result);
    }
    EXPECT_EQ(plan_memory(p).bytes, keep ? 128 : 64);
  }
}

TEST(Planner, of_an_empty_program) {
  const Plan plan = plan_memory(Program(Program::Purpose::inference, Recompute::none));
  EXPECT_EQ(plan.bytes, 0);
  EXPECT_TRUE(plan.offsets.empty());
}

}  // namespace
}  // namespace sft
