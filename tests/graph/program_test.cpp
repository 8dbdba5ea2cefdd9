#include "graph/program.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.h"

namespace sft {
namespace {

void nothing(const Run&) {}

struct Tape {
  explicit Tape(MemoryPolicy memory = {}) : p(Program::Purpose::training, memory) {}

  // y = op(in); its backward reads y when `reads_output`, else the first input, and writes a
  // gradient of each input.
  Value op(const std::string& name, const std::vector<Value>& in, bool reads_output = false) {
    const Value y = p.make(name, {8});
    p.emit(name, in, {y}, nothing);
    p.on_backward([=](Program& b) {
      for (const Value x : in) {
        if (b.has_grad(y)) {
          b.emit(name + ".backward", {b.grad(y), reads_output ? y : in[0]}, {b.grad_out(x)},
                 nothing);
        }
      }
    });
    return y;
  }
  void loss(Value x) { p.emit("loss", {x}, {p.grad_out(x)}, nothing); }

  std::vector<std::string> names(bool recomputed) const {
    std::vector<std::string> found;
    for (const Instruction& i : p.instructions()) {
      if (i.recomputed == recomputed) {
        found.push_back(i.name);
      }
    }
    return found;
  }
  const Instruction& last() const { return p.instructions().back(); }

  Program p;
  Value weight = p.parameter(0, "w", {8}, DType::f32, true);
};

using Names = std::vector<std::string>;

TEST(Program, what_is_said_of_a_value_stays_where_it_is_while_others_are_made) {
  Program p(Program::Purpose::training, {});
  const Value v = p.make("v", {3, 5});
  const Shape& shape = p.shape(v);
  for (int i = 0; i < 1000; ++i) {
    p.make("other", {i + 1});
  }
  EXPECT_EQ(&shape, &p.shape(v));
}

TEST(Program, gradients_flow_from_what_is_trained) {
  Tape t;
  const Value x = t.p.input("x", {8}, DType::f32);
  const Value frozen = t.p.parameter(1, "f", {8}, DType::bf16, false);
  EXPECT_FALSE(t.p.needs_grad(x));
  EXPECT_FALSE(t.p.needs_grad(frozen));
  EXPECT_TRUE(t.p.needs_grad(t.weight));
  const Value y = t.op("y", {x, frozen});
  EXPECT_FALSE(t.p.needs_grad(y));
  EXPECT_FALSE(t.p.grad_out(y).value);
  EXPECT_TRUE(t.p.needs_grad(t.op("z", {y, t.weight})));
}

TEST(Program, integers_have_no_gradient) {
  Tape t;
  const Value y = t.p.make("y", {8}, DType::i32);
  t.p.emit("op", {t.weight}, {y}, nothing);
  EXPECT_FALSE(t.p.needs_grad(y));
}

TEST(Program, inference_has_no_gradients_at_all) {
  Program p(Program::Purpose::inference, Recompute::block);
  const Value w = p.parameter(0, "w", {8}, DType::f32, true);
  EXPECT_FALSE(p.needs_grad(w));
  EXPECT_FALSE(p.grad_out(w).value);
  bool called = false;
  p.on_backward([&](Program&) { called = true; });
  p.differentiate();
  EXPECT_FALSE(called);
  EXPECT_EQ(p.values().size(), 1U);
}

TEST(Program, the_first_contribution_overwrites_and_the_next_add) {
  Tape t;
  const Value y = t.op("y", {t.weight});
  EXPECT_FALSE(t.p.has_grad(y));
  const Output first = t.p.grad_out(y);
  const Output second = t.p.grad_out(y);
  EXPECT_EQ(first.mode, Output::Mode::overwrite);
  EXPECT_EQ(second.mode, Output::Mode::add);
  EXPECT_EQ(first.value, second.value);
  EXPECT_EQ(t.p.grad(y), first.value);
}

TEST(Program, a_parameters_gradient_is_overwritten_by_the_first_micro_batch_only) {
  Tape t;
  const Output first = t.p.grad_out(t.weight);
  const Output second = t.p.grad_out(t.weight);
  EXPECT_EQ(first.mode, Output::Mode::add_after_first);
  EXPECT_EQ(second.mode, Output::Mode::add);
  EXPECT_EQ(first.value, second.value);
  EXPECT_EQ(t.p.info(first.value).kind, ValueInfo::Kind::parameter_grad);
  EXPECT_FALSE(t.p.has_grad(t.weight));  // it is not in the arena: nobody reads it
}

TEST(Program, a_shared_gradient_is_copied_before_it_is_added_to) {
  Tape t;
  const Value a = t.op("a", {t.weight});
  const Value b = t.op("b", {t.weight});
  const Value y = t.op("y", {a, b});
  const Value g = t.p.grad_out(y).value;
  t.p.share_grad(a, g);
  t.p.share_grad(b, g);
  EXPECT_EQ(t.p.grad(a), g);
  EXPECT_EQ(t.p.grad(b), g);
  const size_t before = t.p.instructions().size();
  const Output more = t.p.grad_out(a);
  EXPECT_EQ(t.p.instructions().size(), before + 1);
  EXPECT_EQ(t.last().name, "copy");
  EXPECT_EQ(t.last().in[0], g);
  EXPECT_EQ(t.last().out[0].value, more.value);
  EXPECT_EQ(more.mode, Output::Mode::add);
  EXPECT_NE(more.value, g);
  EXPECT_EQ(t.p.grad(a), more.value);
  EXPECT_EQ(t.p.grad(b), g);  // untouched
  EXPECT_EQ(t.p.grad_out(a).value, more.value);
  EXPECT_EQ(t.p.instructions().size(), before + 1);  // no second copy
  EXPECT_NE(t.p.grad_out(y).value, g);               // y, whose own gradient was shared, copies too
}

TEST(Program, sharing_adds_to_a_gradient_that_is_there) {
  Tape t;
  const Value a = t.op("a", {t.weight});
  const Value y = t.op("y", {a});
  const Value mine = t.p.grad_out(a).value;
  const Value g = t.p.grad_out(y).value;
  t.p.share_grad(a, g);
  EXPECT_EQ(t.last().name, "add");
  EXPECT_EQ(t.last().in[0], g);
  EXPECT_EQ(t.last().out[0].value, mine);
  EXPECT_EQ(t.last().out[0].mode, Output::Mode::add);
}

TEST(Program, sharing_the_same_gradient_twice_doubles_a_copy) {
  Tape t;
  const Value a = t.op("a", {t.weight});
  const Value g = t.p.grad_out(t.op("y", {a})).value;
  t.p.share_grad(a, g);
  t.p.share_grad(a, g);
  EXPECT_EQ(t.last().name, "add");
  EXPECT_EQ(t.last().in[0], g);
  EXPECT_NE(t.last().out[0].value, g);
}

TEST(Program, what_needs_no_gradient_takes_none) {
  Tape t;
  const Value x = t.p.input("x", {8}, DType::f32);
  const size_t before = t.p.instructions().size();
  const Value g = t.p.make("g", {8});
  t.p.share_grad(x, g);
  t.p.replace_grad(x, g);
  EXPECT_FALSE(t.p.has_grad(x));
  EXPECT_EQ(t.p.instructions().size(), before);
}

TEST(Program, a_replaced_gradient_is_its_own) {
  Tape t;
  const Value a = t.op("a", {t.weight});
  const Value g = t.p.grad_out(t.op("y", {a})).value;
  t.p.share_grad(a, g);
  const Value fresh = t.p.make("fresh", {8});
  t.p.replace_grad(a, fresh);
  EXPECT_EQ(t.p.grad(a), fresh);
  EXPECT_EQ(t.p.grad_out(a).value, fresh);  // no copy
  EXPECT_THROW(t.p.replace_grad(t.weight, fresh), Error);
}

TEST(Program, the_tape_runs_backwards) {
  Tape t;
  t.loss(t.op("b", {t.op("a", {t.weight})}));
  t.p.differentiate();
  EXPECT_EQ(t.names(false), (Names{"a", "b", "loss", "b.backward", "a.backward"}));
}

TEST(Program, a_parameter_that_nothing_reads_gets_a_gradient_of_zero) {
  Tape t;
  const Value unread = t.p.parameter(1, "v", {8}, DType::f32, true);
  t.loss(t.op("a", {t.weight}));
  t.p.differentiate();
  EXPECT_EQ(t.last().name, "zero");
  EXPECT_EQ(t.last().out[0].mode, Output::Mode::add_after_first);
  EXPECT_EQ(t.p.info(t.last().out[0].value).index, t.p.info(unread).index);
  EXPECT_EQ(t.names(false), (Names{"a", "loss", "a.backward", "zero"}));
}

TEST(Program, recomputation_repeats_only_what_the_backward_pass_reads) {
  Tape t(Recompute::block);
  const Value x = t.op("x", {t.weight});
  t.p.begin_block(0);
  const Value a = t.op("a", {x});  // read by b's backward
  const Value b = t.op("b", {a});  // read by c's backward
  const Value c = t.op("c", {b});  // the block's output: read by no backward of the block
  t.p.end_block();
  t.loss(t.op("y", {c}));
  t.p.differentiate();
  EXPECT_EQ(t.names(true), (Names{"a", "b"}));
  // c's backward reads the second b, made from the second a; y's backward reads the first c.
  const auto& code = t.p.instructions();
  const auto find = [&](const std::string& name, bool again) {
    return *std::ranges::find_if(
        code, [&](const Instruction& i) { return i.name == name && i.recomputed == again; });
  };
  EXPECT_EQ(find("a", true).in[0], x);
  EXPECT_EQ(find("b", true).in[0], find("a", true).out[0].value);
  EXPECT_NE(find("b", true).out[0].value, b);
  EXPECT_EQ(find("c.backward", false).in[1], find("b", true).out[0].value);
  EXPECT_EQ(find("y.backward", false).in[1], c);
  EXPECT_EQ(find("a.backward", false).in[1], x);
}

TEST(Program, each_block_is_repeated_just_before_its_backward_pass) {
  Tape t(Recompute::block);
  Value x = t.op("x", {t.weight});
  for (int block = 0; block < 2; ++block) {
    t.p.begin_block(block);
    x = t.op(block == 0 ? "a" : "b", {x}, true);
    t.p.end_block();
  }
  t.loss(x);
  t.p.differentiate();
  Names all;
  for (const Instruction& i : t.p.instructions()) {
    all.push_back(i.name);
  }
  EXPECT_EQ(all,
            (Names{"x", "a", "b", "loss", "b", "b.backward", "a", "a.backward", "x.backward"}));
}

TEST(Program, a_value_written_twice_is_repeated_as_one) {
  Tape t(Recompute::block);
  t.p.begin_block(0);
  const Value y = t.p.make("y", {8});
  t.p.emit("write", {t.weight}, {y}, nothing);
  t.p.emit("add", {t.weight}, {{y, Output::Mode::add}}, nothing);
  t.p.end_block();
  t.p.begin_block(0);
  const Value z = t.op("z", {y});
  t.p.end_block();
  t.loss(z);
  t.p.differentiate();
  EXPECT_EQ(t.names(true), (Names{"write", "add"}));
  std::vector<Value> written;
  for (const Instruction& i : t.p.instructions()) {
    if (i.recomputed) {
      written.push_back(i.out[0].value);
    }
  }
  EXPECT_EQ(written[0], written[1]);
  EXPECT_NE(written[0], y);
}

// x -> a (norms) -> b (mlp) -> c -> d, which has a way from c that is not its own.
Names repeated(Recompute recompute) {
  Tape t(recompute);
  const Value x = t.op("x", {t.weight});
  t.p.begin_block(0);
  const Value first = t.op("first", {x});
  const Value a = t.op("a", {first}, true);
  t.p.recompute_from(Recompute::norms);
  const Value b = t.op("b", {a}, true);
  t.p.recompute_from(Recompute::mlp);
  const Value c = t.op("c", {b}, true);
  const Value d = t.op("d", {b, c}, true);
  t.p.recompute_by("shortcut", {c}, {d}, nothing);
  t.p.end_block();
  t.loss(d);
  t.p.differentiate();
  return t.names(true);
}

TEST(Program, a_policy_repeats_what_is_marked_for_it) {
  EXPECT_EQ(repeated(Recompute::none), Names{});
  EXPECT_EQ(repeated(Recompute::norms), (Names{"a", "shortcut"}));
  EXPECT_EQ(repeated(Recompute::mlp), (Names{"a", "b", "shortcut"}));
  EXPECT_EQ(repeated(Recompute::block), (Names{"first", "a", "b", "c", "d"}));
}

TEST(Program, a_block_that_begins_with_a_sum_keeps_the_sum) {
  Tape t(Recompute::block);
  const Value x = t.op("x", {t.weight});
  const Value y = t.op("y", {t.weight});
  t.p.begin_block(0);
  const Value sum = t.p.make("sum", {8});
  const Value norm = t.p.make("norm", {8});
  t.p.emit("add_norm", {x, y}, {sum, norm}, nothing);
  t.p.recompute_by("norm", {sum}, {norm}, nothing);
  const Value z = t.op("z", {norm});
  t.p.end_block();
  t.loss(z);
  t.p.differentiate();
  EXPECT_EQ(t.names(true), Names{"norm"});
  for (const Instruction& i : t.p.instructions()) {
    if (i.recomputed) {
      EXPECT_EQ(i.in[0], sum);
    }
  }
}

TEST(Program, what_follows_a_repeated_input_is_repeated_with_it) {
  for (const bool marked : {false, true}) {
    Tape t(Recompute::norms);
    const Value x = t.op("x", {t.weight});
    t.p.begin_block(0);
    const Value a = t.op("a", {x});
    if (marked) {
      t.p.recompute_from(Recompute::norms);
    }
    const Value b = t.op("b", {a}, true);
    t.p.recompute_with_input();
    t.p.end_block();
    t.loss(b);
    t.p.differentiate();
    EXPECT_EQ(t.names(true), marked ? (Names{"a", "b"}) : Names{});
  }
}

TEST(Program, offloaded_values_leave_when_made_and_return_one_block_early) {
  Tape t({Recompute::block, true});
  const auto op = [&](const std::string& name, Value in) {
    const Value y = t.p.make(name, {2, 4});
    t.p.emit(name, {in}, {y}, nothing);
    t.p.on_backward([=](Program& b) {
      b.emit(name + ".backward", {b.grad(y), in}, {b.grad_out(in)}, nothing);
    });
    return y;
  };
  Value x = op("x", t.weight);
  for (int block = 0; block < 4; ++block) {
    t.p.begin_block(block);
    x = op(std::to_string(block), x);
    t.p.end_block();
  }
  t.loss(x);
  t.p.differentiate();
  Names all;
  for (const Instruction& i : t.p.instructions()) {
    all.push_back(i.name);
    EXPECT_EQ(i.lane == Lane::copies, i.name == "offload" || i.name == "fetch");
  }
  // Blocks 3 and 2 come first in the backward pass: what they read stays.
  EXPECT_EQ(all, (Names{"x", "offload", "0", "offload", "1", "2", "3", "loss", "3.backward",
                        "fetch", "2.backward", "fetch", "1.backward", "0.backward", "x.backward"}));
}

TEST(Program, a_loss_inside_a_repeated_block_is_refused) {
  Tape t(Recompute::block);
  t.p.begin_block(0);
  const Value y = t.op("y", {t.weight});
  EXPECT_THROW(t.loss(y), Error);
}

TEST(Program, without_recomputation_nothing_is_repeated) {
  Tape t;
  t.p.begin_block(0);
  t.loss(t.op("b", {t.op("a", {t.weight})}, true));
  t.p.differentiate();
  EXPECT_TRUE(t.names(true).empty());
}

}  // namespace
}  // namespace sft
