#include "graph/executor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "core/error.h"

namespace sft {
namespace {

struct Fixture {
  std::unique_ptr<Device> device = Device::cpu(1);
  Arena arena{*device};
  Program p{Program::Purpose::inference, Recompute::none};
};

// y = x + 1 in block 3, by a kernel that may do something else first.
Value emit_add_one(Program& p, Value x, std::function<void()> before = [] {}) {
  const Value y = p.like(x, "y");
  p.begin_block(3);
  p.emit("add_one", {x}, {y}, [before](const Run& r) {
    before();
    for (int64_t i = 0; i < r.in(0).shape.elements(); ++i) {
      r.out(0).f32()[i] = r.in(0).f32()[i] + 1.0F;
    }
  });
  p.end_block();
  return y;
}

Error error_of(Executor& executor, const Bindings& bindings) {
  try {
    executor.run(bindings);
  } catch (const Error& e) {
    return e;
  }
  return {"X000", "nothing was thrown"};
}

TEST(Executor, runs_on_what_is_bound) {
  Fixture f;
  const Value x = f.p.input("x", {2, 3}, DType::f32);
  const Value y = emit_add_one(f.p, emit_add_one(f.p, x));
  Executor executor(*f.device, f.arena, std::move(f.p));
  std::vector<float> data{0, 1, 2, 3, 4, 5};
  Bindings bindings;
  bindings.inputs["x"] = {data.data(), {2, 3}, DType::f32};
  for (int run = 0; run < 3; ++run) {
    executor.run(bindings);
    const Tensor t = executor.tensor(y);
    EXPECT_EQ(std::vector<float>(t.f32(), t.f32() + 6), (std::vector<float>{2, 3, 4, 5, 6, 7}));
  }
}

TEST(Executor, an_error_says_where_it_came_from) {
  Fixture f;
  const Value x = f.p.input("x", {2, 3}, DType::f32);
  emit_add_one(f.p, x, [] { throw Error("G002", "the product failed").hint("try again"); });
  Executor executor(*f.device, f.arena, std::move(f.p));
  std::vector<float> data(6);
  Bindings bindings;
  bindings.inputs["x"] = {data.data(), {2, 3}, DType::f32};
  const Error e = error_of(executor, bindings);
  EXPECT_EQ(e.code().text(), "G002");
  EXPECT_EQ(e.hint(), "try again");
  for (const char* part : {"add_one", "block 3", "(2, 3)", "the product failed"}) {
    EXPECT_NE(e.message().find(part), std::string::npos) << e.message();
  }
}

TEST(Executor, an_input_that_is_not_bound) {
  Fixture f;
  emit_add_one(f.p, f.p.input("tokens", {4}, DType::f32));
  Executor executor(*f.device, f.arena, std::move(f.p));
  const Error e = error_of(executor, {});
  EXPECT_EQ(e.code().text(), "X003");
  EXPECT_NE(e.message().find("tokens"), std::string::npos);
}

TEST(Executor, an_input_may_be_smaller_but_not_larger_and_not_of_another_type) {
  Fixture f;
  emit_add_one(f.p, f.p.input("x", {4}, DType::f32));
  Executor executor(*f.device, f.arena, std::move(f.p));
  std::vector<float> data(8);
  Bindings bindings;
  bindings.inputs["x"] = {data.data(), {3}, DType::f32};
  EXPECT_EQ(error_of(executor, bindings).code().text(), "X000");
  bindings.inputs["x"] = {data.data(), {5}, DType::f32};
  EXPECT_EQ(error_of(executor, bindings).code().text(), "X003");
  bindings.inputs["x"] = {data.data(), {4}, DType::i32};
  EXPECT_EQ(error_of(executor, bindings).code().text(), "X003");
}

TEST(Executor, several_programs_share_an_arena_of_the_largest) {
  Fixture f;
  std::vector<std::unique_ptr<Executor>> ladder;
  std::vector<Value> results;
  std::vector<float> data(1000, 2.0F);
  for (const int64_t size : {10, 1000, 100}) {
    Program p(Program::Purpose::inference, Recompute::none);
    results.push_back(emit_add_one(p, p.input("x", {size}, DType::f32)));
    ladder.push_back(std::make_unique<Executor>(*f.device, f.arena, std::move(p)));
  }
  for (const size_t which : {0, 1, 2, 0, 1}) {
    Executor& executor = *ladder[which];
    Bindings bindings;
    const int64_t size = executor.program().shape(results[which])[0];
    bindings.inputs["x"] = {data.data(), {size}, DType::f32};
    executor.run(bindings);
    const Tensor t = executor.tensor(results[which]);
    EXPECT_TRUE(std::all_of(t.f32(), t.f32() + size, [](float x) { return x == 3.0F; }));
  }
  EXPECT_EQ(f.arena.bytes(), 4032);
}

}  // namespace
}  // namespace sft
