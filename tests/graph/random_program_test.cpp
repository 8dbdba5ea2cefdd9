// Random small networks with branches and blocks: their gradients against central differences of
// the same network in double, and recomputation against none, bit for bit.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "core/rng.h"
#include "graph/executor.h"

namespace sft {
namespace {

constexpr int64_t kWidth = 8;
const Shape kShape{1, kWidth};  // values of two dimensions are offloaded
constexpr int kParameters = 3;

// The kinds of op differ in what their backward passes ask of the program.
enum class Kind {
  add,    // shares its output's gradient with both inputs
  mul,    // reads both inputs, adds to both gradients
  wave,   // sin x: reads its input, makes a gradient and shares it
  curve,  // tanh x: reads its output
  twice,  // 2 x, over its input where it can, and so its gradient
  gain,   // x w: replaces x's gradient in the same pass
  late,   // x + x w, written by two instructions
};

struct Node {
  Kind kind;
  int a, b;   // operands, by number; parameters come first
  int block;  // -1: outside
};

using Network = std::vector<Node>;

Network random_network(uint32_t seed) {
  std::mt19937 random(seed);
  const auto below = [&](size_t n) { return static_cast<int>(random() % n); };
  Network nodes;
  // Parameters stand for weights only: the first ops turn them into activations.
  for (int i = 0; i < kParameters; ++i) {
    nodes.push_back({Kind::mul, i, (i + 1) % kParameters, -1});
  }
  const int blocks = 1 + below(4);
  for (int block = 0; block < blocks; ++block) {
    for (int i = below(6); i >= 0; --i) {
      const auto kind = static_cast<Kind>(below(7));
      const int a = kParameters + below(nodes.size());
      const bool weighted = kind == Kind::gain || kind == Kind::late;
      nodes.push_back(
          {kind, a, weighted ? below(kParameters) : kParameters + below(nodes.size()), block});
    }
  }
  return nodes;
}

// Every value of the network, in double; the loss is the sum of the last.
std::vector<std::vector<double>> evaluate(const Network& network,
                                          std::vector<std::vector<double>> values) {
  for (const Node& n : network) {
    std::vector<double> y(kWidth);
    for (size_t i = 0; i < y.size(); ++i) {
      const double a = values[static_cast<size_t>(n.a)][i];
      const double b = values[static_cast<size_t>(n.b)][i];
      switch (n.kind) {
        case Kind::add:
          y[i] = a + b;
          break;
        case Kind::mul:
        case Kind::gain:
          y[i] = a * b;
          break;
        case Kind::wave:
          y[i] = std::sin(a);
          break;
        case Kind::curve:
          y[i] = std::tanh(a);
          break;
        case Kind::twice:
          y[i] = 2.0 * a;
          break;
        case Kind::late:
          y[i] = a + a * b;
          break;
      }
    }
    values.push_back(y);
  }
  return values;
}

// A kernel that sets, or adds to, each element of out(0) from the elements of its inputs.
template <class Formula>
Kernel elementwise(Formula formula) {
  return [formula](const Run& r) {
    for (int64_t i = 0; i < kWidth; ++i) {
      const auto in = [&](int k) { return r.in(k).f32()[i]; };
      const float x = formula(in);
      r.out(0).f32()[i] = r.accumulate(0) ? r.out(0).f32()[i] + x : x;
    }
  };
}

const Kernel kProduct = elementwise([](auto in) { return in(0) * in(1); });

Value emit_product(Program& p, Value a, Value b) {
  const Value y = p.make("product", kShape);
  p.emit("product", {a, b}, {y}, kProduct);
  p.on_backward([=](Program& g) {
    if (g.has_grad(y)) {
      g.emit("product.a", {g.grad(y), b}, {g.grad_out(a)}, kProduct);
      g.emit("product.b", {g.grad(y), a}, {g.grad_out(b)}, kProduct);
    }
  });
  return y;
}

Value emit_gain(Program& p, Value x, Value w) {
  const Value y = p.make("gain", kShape);
  p.emit("gain", {x, w}, {y}, kProduct);
  p.recompute_by("product", {x, w}, {y}, kProduct);
  p.on_backward([=](Program& g) {
    if (!g.has_grad(y)) {
      return;
    }
    const Value all = g.like(x, "gain.grad");
    g.emit("gain.weight", {g.grad(y), x}, {g.grad_out(w)}, kProduct);
    g.emit(
        "gain.input", {g.grad(x), g.grad(y), w}, {all},
        [](const Run& r) {
          for (int64_t i = 0; i < kWidth; ++i) {
            const float so_far = r.in(0).data == nullptr ? 0.0F : r.in(0).f32()[i];
            r.out(0).f32()[i] = so_far + r.in(1).f32()[i] * r.in(2).f32()[i];
          }
        },
        0);
    g.replace_grad(x, all);
  });
  return y;
}

Value emit_late(Program& p, Value x, Value w) {
  const Value y = p.make("late", kShape);
  p.emit("late.first", {x}, {y}, elementwise([](auto in) { return in(0); }));
  p.emit("late.second", {x, w}, {{y, Output::Mode::add}}, kProduct);
  p.recompute_from(Recompute::norms, p.instructions().size() - 2);
  p.on_backward([=](Program& g) {
    if (g.has_grad(y)) {
      g.emit("late.weight", {g.grad(y), x}, {g.grad_out(w)}, kProduct);
      g.emit("late.input", {g.grad(y), w}, {g.grad_out(x)}, kProduct);
      g.share_grad(x, g.grad(y));
    }
  });
  return y;
}

// y = f(x), whose gradient is made from grad y and `x` or `y`, and then shared.
Value emit_function(Program& p, const char* name, Value x, const Kernel& forward, int reuse,
                    bool reads_output, const Kernel& backward) {
  const Value y = p.make(name, kShape);
  p.emit(name, {x}, {y}, forward, reuse);
  if (reuse == 0) {
    p.recompute_with_input();
  } else {
    p.recompute_from(reads_output ? Recompute::norms : Recompute::mlp);
  }
  p.on_backward([=](Program& g) {
    if (g.has_grad(y)) {
      const Value grad = g.like(x, "function.grad");
      g.emit("function.backward",
             {g.grad(y), reuse == 0     ? Value()
                         : reads_output ? y
                                        : x},
             {grad}, backward, 0);
      g.share_grad(x, grad);
    }
  });
  return y;
}

Value emit_node(Program& p, const Node& n, Value a, Value b) {
  switch (n.kind) {
    case Kind::add: {
      const Value y = p.make("sum", kShape);
      p.emit("sum", {a, b}, {y}, elementwise([](auto in) { return in(0) + in(1); }));
      p.on_backward([=](Program& g) {
        if (g.has_grad(y)) {
          g.share_grad(a, g.grad(y));
          g.share_grad(b, g.grad(y));
        }
      });
      return y;
    }
    case Kind::mul:
      return emit_product(p, a, b);
    case Kind::gain:
      return emit_gain(p, a, b);
    case Kind::late:
      return emit_late(p, a, b);
    case Kind::wave:
      return emit_function(p, "wave", a, elementwise([](auto in) { return std::sin(in(0)); }), -1,
                           false, elementwise([](auto in) { return in(0) * std::cos(in(1)); }));
    case Kind::curve:
      return emit_function(p, "curve", a, elementwise([](auto in) { return std::tanh(in(0)); }), -1,
                           true,
                           elementwise([](auto in) { return in(0) * (1.0F - in(1) * in(1)); }));
    case Kind::twice:
      break;
  }
  return emit_function(p, "twice", a, elementwise([](auto in) { return 2.0F * in(0); }), 0, false,
                       elementwise([](auto in) { return 2.0F * in(0); }));
}

struct Outcome {
  std::vector<float> loss_input;              // the network's last value
  std::vector<std::vector<float>> gradients;  // by parameter
  int64_t bytes = 0, host_bytes = 0;
};

Outcome run(const Network& network, const std::vector<std::vector<float>>& parameters,
            MemoryPolicy memory, bool first_micro_batch = true) {
  Program p(Program::Purpose::training, memory);
  std::vector<Value> values;
  for (int i = 0; i < kParameters; ++i) {
    values.push_back(p.parameter(i, "w", kShape, DType::f32, true));
  }
  int block = -1;
  for (const Node& n : network) {
    if (n.block != block) {
      p.begin_block(block = n.block);
    }
    values.push_back(
        emit_node(p, n, values[static_cast<size_t>(n.a)], values[static_cast<size_t>(n.b)]));
  }
  p.end_block();
  p.keep(values.back());
  p.emit("loss", {values.back()}, {p.grad_out(values.back())},
         elementwise([](auto) { return 1.0F; }));
  p.differentiate();

  const auto device = Device::cpu(1);
  Arena arena(*device);
  Executor executor(*device, arena, std::move(p));
  Outcome outcome;
  outcome.gradients.assign(kParameters, std::vector<float>(kWidth, 0.5F));
  Bindings bindings;
  bindings.first_micro_batch = first_micro_batch;
  for (size_t i = 0; i < kParameters; ++i) {
    bindings.parameters.push_back({const_cast<float*>(parameters[i].data()), kShape, DType::f32});
    bindings.gradients.push_back({outcome.gradients[i].data(), kShape, DType::f32});
  }
  outcome.bytes = executor.plan().bytes;
  outcome.host_bytes = executor.plan().host_bytes;
  const auto fill = [](std::byte* at, int64_t n) {
    if (n > 0) {
      std::memset(at, 0xff, static_cast<size_t>(n));  // NaN
    }
  };
  fill(arena.reserve(outcome.bytes), outcome.bytes);
  fill(arena.reserve_host(outcome.host_bytes), outcome.host_bytes);
  executor.run(bindings);
  const float* y = executor.tensor(values.back()).f32();
  outcome.loss_input.assign(y, y + kWidth);
  return outcome;
}

double loss_of(const Network& network, const std::vector<std::vector<double>>& parameters) {
  double sum = 0.0;
  const auto values = evaluate(network, parameters);
  for (const double x : values.back()) {
    sum += x;
  }
  return sum;
}

TEST(RandomPrograms, gradients_are_right_and_recomputation_changes_no_bit) {
  int checked = 0, offloaded = 0;
  for (uint32_t seed = 0; seed < 600 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    const Network network = random_network(seed);
    std::vector<std::vector<float>> parameters(kParameters, std::vector<float>(kWidth));
    std::vector<std::vector<double>> exact(kParameters, std::vector<double>(kWidth));
    for (size_t i = 0; i < kParameters; ++i) {
      for (size_t k = 0; k < kWidth; ++k) {
        exact[i][k] = parameters[i][k] = normal(seed, i, k);
      }
    }
    double largest = 0.0;
    for (const auto& value : evaluate(network, exact)) {
      for (const double x : value) {
        largest = std::max(largest, std::abs(x));
      }
    }
    if (largest > 50.0) {
      continue;  // float's rounding would drown what is looked for
    }
    ++checked;
    const Outcome plain = run(network, parameters, Recompute::none);
    for (const Recompute recompute :
         {Recompute::none, Recompute::norms, Recompute::mlp, Recompute::block}) {
      for (const bool offload : {false, true}) {
        const Outcome again = run(network, parameters, {recompute, offload});
        EXPECT_EQ(plain.loss_input, again.loss_input) << name_of(recompute) << offload;
        EXPECT_EQ(plain.gradients, again.gradients) << name_of(recompute) << offload;
        EXPECT_TRUE(offload || again.host_bytes == 0);
        offloaded += again.host_bytes > 0 ? 1 : 0;
      }
    }
    const Outcome added = run(network, parameters, Recompute::block, false);
    for (size_t i = 0; i < kParameters; ++i) {
      double norm = 0.0;
      for (const float g : plain.gradients[i]) {
        norm = std::max(norm, std::abs(double{g}));
      }
      for (size_t k = 0; k < kWidth; ++k) {
        const double x = exact[i][k];
        exact[i][k] = x + 1e-6;
        const double above = loss_of(network, exact);
        exact[i][k] = x - 1e-6;
        const double below = loss_of(network, exact);
        exact[i][k] = x;
        EXPECT_NEAR(plain.gradients[i][k], (above - below) / 2e-6, 2e-4 * norm + 1e-5);
        EXPECT_NEAR(added.gradients[i][k], plain.gradients[i][k] + 0.5F, 1e-5 * norm + 1e-6);
      }
    }
  }
  EXPECT_GT(checked, 300);
  EXPECT_GT(offloaded, 100);
}

}  // namespace
}  // namespace sft
