#include "support/op_case.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "core/rng.h"
#include "formats/format.h"
#include "graph/executor.h"

namespace sft::testing {

namespace {

constexpr uint64_t kSeed = 20;

double rounded_to(DType dtype, double x) {
  const auto f = static_cast<float>(x);
  switch (dtype) {
    case DType::bf16:
      return to_float(to_bfloat16(f));
    case DType::f16:
      return to_float(to_float16(f));
    default:
      return f;
  }
}

Operand random_operand(Operand::Kind kind, Shape shape, DType dtype, uint64_t seed, double spread) {
  Operand o{kind, shape, Numbers(static_cast<size_t>(shape.elements())), dtype};
  for (size_t i = 0; i < o.values.size(); ++i) {
    o.values[i] = rounded_to(dtype, spread * normal(kSeed, seed, i));
  }
  return o;
}

// Numbers in memory of a type, and back.
std::vector<std::byte> stored(const Numbers& values, DType dtype) {
  std::vector<std::byte> memory(values.size() * size_of(dtype));
  for (size_t i = 0; i < values.size(); ++i) {
    const auto x = static_cast<float>(values[i]);
    std::byte* at = memory.data() + i * size_of(dtype);
    if (dtype == DType::i32) {
      const auto n = static_cast<int32_t>(values[i]);
      std::memcpy(at, &n, sizeof n);
    } else if (dtype == DType::f32) {
      std::memcpy(at, &x, sizeof x);
    } else {
      const uint16_t bits = dtype == DType::bf16 ? to_bfloat16(x).bits : to_float16(x).bits;
      std::memcpy(at, &bits, sizeof bits);
    }
  }
  return memory;
}

std::vector<float> loaded(const std::vector<std::byte>& memory, DType dtype) {
  std::vector<float> values(memory.size() / size_of(dtype));
  for (size_t i = 0; i < values.size(); ++i) {
    const std::byte* at = memory.data() + i * size_of(dtype);
    if (dtype == DType::f32) {
      std::memcpy(&values[i], at, sizeof(float));
    } else if (dtype == DType::bf16) {
      values[i] = to_float(*reinterpret_cast<const BFloat16*>(at));
    } else {
      values[i] = to_float(*reinterpret_cast<const Float16*>(at));
    }
  }
  return values;
}

// Memory of a device with something in it.
class OnDevice {
 public:
  OnDevice(Device& device, const std::vector<std::byte>& bytes)
      : device_(device),
        size_(bytes.size()),
        buffer_(device.allocate(std::max<size_t>(size_, 64))) {
    device.upload(buffer_.data(), bytes.data(), size_);
  }
  void* data() const { return buffer_.data(); }
  std::vector<std::byte> bytes() const {
    std::vector<std::byte> out(size_);
    device_.download(out.data(), buffer_.data(), size_);
    return out;
  }

 private:
  Device& device_;
  size_t size_;
  Buffer buffer_;
};

// The type an operand has when a program computes in `compute`.
DType type_of(const Operand& o, DType compute) {
  return o.dtype == DType::f32 && o.kind != Operand::Kind::index && !o.wide ? compute : o.dtype;
}

// y = x, so that a parameter can play the part of an activation.
Value leaf(Program& p, Value x) {
  const Value y = p.activation("leaf", p.shape(x));
  p.emit("leaf", {x}, {y}, [](const Run& r) { r.device().add(r.in(0), r.out(0), false); });
  p.on_backward([=](Program& b) {
    if (!b.has_grad(y) || !b.needs_grad(x)) {
      return;
    }
    b.emit("leaf.backward", {b.grad(y)}, {b.grad_out(x)},
           [](const Run& r) { r.device().add(r.in(0), r.out(0), r.accumulate(0)); });
  });
  return y;
}

std::vector<float> projection(const OpCase& c, size_t output, size_t elements) {
  std::vector<float> w(elements, kEvenGradient);
  for (size_t i = 0; i < elements && !c.even_gradients; ++i) {
    w[i] = normal(kSeed + 1, output, i);
  }
  return w;
}

// Copies y to the external `copy` and, when asked, starts y's gradient at `weights`.
void emit_watch(Program& p, Value y, Value copy, Value weights, bool seeds) {
  p.emit("watch", {y, copy, weights}, {seeds ? p.grad_out(y) : Output()}, [](const Run& r) {
    r.device().copy(r.in(1).data, r.in(0).data, r.in(0).bytes());
    if (r.wants(0)) {
      r.device().add(r.in(2), r.out(0), r.accumulate(0));
    }
  });
}

std::vector<Value> record_operands(Program& p, const OpCase& c, int freeze) {
  std::vector<Value> values;
  for (size_t i = 0; i < c.operands.size(); ++i) {
    const Operand& o = c.operands[i];
    const auto index = static_cast<int>(i);
    const std::string name = fmt::format("operand {}", i);
    if (o.kind == Operand::Kind::index) {
      values.push_back(p.input(name, o.shape, o.dtype, o.sized_by_host));
      continue;
    }
    const bool trained = o.differentiable() && index != freeze;
    const Value v = p.parameter(index, name, o.shape, type_of(o, p.target().compute), trained);
    values.push_back(o.kind == Operand::Kind::activation ? leaf(p, v) : v);
  }
  return values;
}

double scalar_loss(const OpCase& c, const std::vector<Numbers>& in) {
  if (c.loss) {
    return c.loss(in);
  }
  double sum = 0.0;
  const std::vector<Numbers> out = c.reference(in);
  for (size_t o = 0; o < out.size(); ++o) {
    const std::vector<float> w = projection(c, o, out[o].size());
    for (size_t i = 0; i < w.size(); ++i) {
      sum += w[i] * out[o][i];
    }
  }
  return sum;
}

std::vector<Numbers> numbers_of(const OpCase& c) {
  std::vector<Numbers> in;
  for (const Operand& o : c.operands) {
    in.push_back(o.values);
  }
  return in;
}

double largest(const Numbers& x) {
  double top = 0.0;
  for (const double v : x) {
    top = std::max(top, std::abs(v));
  }
  return top;
}

// Elements `which` of `got` equal `want` within tolerance times the largest wanted.
void expect_near(const std::vector<float>& got, const std::vector<size_t>& which,
                 const Numbers& want, double tolerance, const std::string& what) {
  const double allowed = tolerance * largest(want) + 1e-30;
  for (size_t i = 0; i < which.size(); ++i) {
    ASSERT_NEAR(got[which[i]], want[i], allowed) << what << " element " << which[i];
  }
}

std::vector<size_t> every(size_t n) {
  std::vector<size_t> all(n);
  for (size_t i = 0; i < n; ++i) {
    all[i] = i;
  }
  return all;
}

void expect_same_bits(const std::vector<std::vector<float>>& a,
                      const std::vector<std::vector<float>>& b, const std::string& what) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].size(), b[i].size());
    for (size_t k = 0; k < a[i].size(); ++k) {
      ASSERT_EQ(std::bit_cast<uint32_t>(a[i][k]), std::bit_cast<uint32_t>(b[i][k]))
          << what << " changes element " << k << " of " << i;
    }
  }
}

void expect_close(const std::vector<std::vector<float>>& a,
                  const std::vector<std::vector<float>>& b, double tolerance, double shift,
                  const std::string& what) {
  for (size_t i = 0; i < a.size(); ++i) {
    Numbers want(b[i].begin(), b[i].end());
    std::ranges::for_each(want, [&](double& x) { x += shift; });
    expect_near(a[i], every(a[i].size()), want, tolerance, fmt::format("{}, tensor {}", what, i));
  }
}

void check_gradients(const OpCase& c, const OpResult& result) {
  std::vector<Numbers> in = numbers_of(c);
  for (size_t o = 0; o < in.size(); ++o) {
    if (!c.operands[o].differentiable()) {
      continue;
    }
    const size_t n = in[o].size();
    std::vector<size_t> which;
    const size_t count = std::min<size_t>(n, static_cast<size_t>(c.checked));
    for (size_t k = 0; k < count; ++k) {
      which.push_back(count == n ? k : philox(kSeed + 2, o, k)[0] % n);
    }
    Numbers want;
    for (const size_t i : which) {
      const double x = in[o][i];
      const double h = 1e-5 * (1.0 + std::abs(x));
      in[o][i] = x + h;
      const double above = scalar_loss(c, in);
      in[o][i] = x - h;
      want.push_back((above - scalar_loss(c, in)) / (2.0 * h));
      in[o][i] = x;
    }
    expect_near(result.gradients[o], which, want, c.gradient_tolerance,
                fmt::format("gradient of operand {}", o));
  }
}

void check_frozen(const OpCase& c, const OpResult& base) {
  for (size_t o = 0; o < c.operands.size(); ++o) {
    if (!c.operands[o].differentiable()) {
      continue;
    }
    const OpResult result = run_op(c, {.freeze = static_cast<int>(o)});
    std::vector<std::vector<float>> expected = base.gradients;
    std::ranges::fill(expected[o], kGradientBefore);
    expect_same_bits(result.gradients, expected, fmt::format("freezing operand {}", o));
    expect_same_bits(result.outputs, base.outputs, "freezing");
  }
}

}  // namespace

Operand activation(Shape shape, uint64_t seed, double spread) {
  return random_operand(Operand::Kind::activation, shape, DType::f32, seed, spread);
}

Operand parameter(Shape shape, uint64_t seed, double spread) {
  return random_operand(Operand::Kind::parameter, shape, DType::f32, seed, spread);
}

Operand norm_weight(Shape shape, uint64_t seed, double spread) {
  Operand o = parameter(shape, seed, spread);
  o.wide = true;
  return o;
}

Operand frozen(Shape shape, DType dtype, uint64_t seed, double spread) {
  Operand o = random_operand(Operand::Kind::frozen, shape, dtype, seed, spread);
  if (is_packed(dtype)) {
    std::vector<float> floats(o.values.begin(), o.values.end());
    o.packed.resize(bytes_of(dtype, shape));
    Tensor packed{o.packed.data(), shape, dtype};
    encode(floats.data(), packed);
    decode(packed, floats.data(), nullptr);
    o.values.assign(floats.begin(), floats.end());
  }
  return o;
}

Operand indices(const std::vector<int>& values) {
  return {Operand::Kind::index,
          {static_cast<int64_t>(values.size())},
          Numbers(values.begin(), values.end()),
          DType::i32};
}

OpResult run_op(const OpCase& c, const OpRun& options) {
  const auto cpu = options.device == nullptr ? Device::cpu(options.threads) : nullptr;
  Device& device = cpu ? *cpu : *options.device;
  MemoryPolicy policy{options.recompute};
  policy.mlp_tile = options.mlp_tile;
  Program p(options.training ? Program::Purpose::training : Program::Purpose::inference, policy,
            device.target(options.compute));
  const std::vector<Value> operands = record_operands(p, c, options.freeze);
  if (!c.loss) {  // what starts gradients stands outside every block
    p.begin_block(0);
  }
  const std::vector<Value> outputs = c.build(p, operands);
  p.end_block();
  std::vector<Tensor> out_types;
  for (size_t o = 0; o < outputs.size(); ++o) {
    out_types.push_back({nullptr, p.shape(outputs[o]), p.info(outputs[o]).dtype});
    const Value copy = p.input(fmt::format("copy {}", o), out_types[o].shape, out_types[o].dtype);
    const Value w = p.input(fmt::format("weights {}", o), out_types[o].shape, DType::f32);
    emit_watch(p, outputs[o], copy, w, options.training && !c.loss);
  }
  if (options.training) {
    p.differentiate();
  }

  Arena arena(device);
  Executor executor(device, arena, std::move(p));
  Bindings bindings;
  bindings.first_micro_batch = options.first_micro_batch;
  std::vector<OnDevice> memory, gradients, copies, weights;
  for (size_t i = 0; i < c.operands.size(); ++i) {
    const Operand& o = c.operands[i];
    const DType type = type_of(o, options.compute);
    memory.emplace_back(device, is_packed(type) ? o.packed : stored(o.values, type));
    gradients.emplace_back(
        device,
        stored(Numbers(o.differentiable() ? o.values.size() : 0, kGradientBefore), DType::f32));
    bindings.inputs[fmt::format("operand {}", i)] = {memory[i].data(), o.shape, type};
    bindings.parameters.push_back({memory[i].data(), o.shape, type});
    bindings.gradients.push_back({gradients[i].data(), o.shape, DType::f32});
  }
  for (size_t o = 0; o < outputs.size(); ++o) {
    const auto n = static_cast<size_t>(out_types[o].shape.elements());
    const std::vector<float> w = projection(c, o, n);
    copies.emplace_back(device, stored(Numbers(n), out_types[o].dtype));
    weights.emplace_back(device, stored(Numbers(w.begin(), w.end()), DType::f32));
    bindings.inputs[fmt::format("copy {}", o)] = {copies[o].data(), out_types[o].shape,
                                                  out_types[o].dtype};
    bindings.inputs[fmt::format("weights {}", o)] = {weights[o].data(), out_types[o].shape,
                                                     DType::f32};
  }
  const auto bytes = static_cast<size_t>(executor.plan().bytes);
  const std::vector<std::byte> nans(bytes, std::byte{0xff});
  device.upload(arena.reserve(executor.plan().bytes), nans.data(), bytes);
  executor.run(bindings);
  OpResult result;
  for (size_t o = 0; o < outputs.size(); ++o) {
    result.outputs.push_back(loaded(copies[o].bytes(), out_types[o].dtype));
  }
  for (const OnDevice& g : gradients) {
    result.gradients.push_back(loaded(g.bytes(), DType::f32));
  }
  return result;
}

Device* test_gpu() {
  static const std::unique_ptr<Device> gpu =
      std::getenv("SFT_TEST_CUDA") != nullptr ? Device::cuda(0, 2) : nullptr;
  return gpu.get();
}

namespace {

// Whether float16, whose largest value is 65,504, has room for what goes in and comes out.
bool fits_float16(const OpCase& c, const OpResult& base) {
  const auto small = [](const auto& values) {
    return std::ranges::all_of(values, [](auto x) { return std::abs(x) < 1e4; });
  };
  return std::ranges::all_of(
             c.operands,
             [&](const Operand& o) { return o.kind == Operand::Kind::index || small(o.values); }) &&
         std::ranges::all_of(base.outputs, small) && std::ranges::all_of(base.gradients, small);
}

// The GPU's float32 differs from the CPU's by the order of sums; 16 bits also by every rounding.
void check_on_gpu(const OpCase& c, const OpResult& base) {
  for (const auto& [compute, tolerance] :
       {std::pair(DType::f32, 2e-5), std::pair(DType::bf16, c.bf16_tolerance),
        std::pair(DType::f16, c.bf16_tolerance)}) {
    if (compute == DType::f16 && !fits_float16(c, base)) {
      continue;
    }
    const std::string what = fmt::format("the GPU in {}", name_of(compute));
    const OpRun options{.device = test_gpu(), .compute = compute};
    const OpResult once = run_op(c, options);
    expect_close(once.outputs, base.outputs, tolerance, 0.0, what);
    expect_close(once.gradients, base.gradients, tolerance, 0.0, what);
    const OpResult twice = run_op(c, options);
    expect_same_bits(once.outputs, twice.outputs, what);
    expect_same_bits(once.gradients, twice.gradients, what);
    OpRun more = options;
    more.first_micro_batch = false;
    expect_close(run_op(c, more).gradients, once.gradients, 1e-3, kGradientBefore, what);
  }
}

}  // namespace

void check_op(const OpCase& c) {
  const OpResult base = run_op(c);
  const std::vector<Numbers> want = c.reference(numbers_of(c));
  ASSERT_EQ(base.outputs.size(), want.size());
  for (size_t o = 0; o < want.size(); ++o) {
    ASSERT_EQ(base.outputs[o].size(), want[o].size());
    expect_near(base.outputs[o], every(want[o].size()), want[o], c.tolerance,
                fmt::format("output {}", o));
  }
  check_gradients(c, base);
  for (const int threads : {1, 2, 3}) {
    const OpResult once = run_op(c, {.threads = threads});
    const OpResult twice = run_op(c, {.threads = threads});
    expect_same_bits(once.outputs, twice.outputs, "a second run");
    expect_same_bits(once.gradients, twice.gradients, "a second run");
    const std::string what = fmt::format("{} threads", threads);
    expect_close(once.outputs, base.outputs, c.tolerance, 0.0, what);
    expect_close(once.gradients, base.gradients, c.gradient_tolerance, 0.0, what);
  }
  const OpResult added = run_op(c, {.first_micro_batch = false});
  expect_close(added.gradients, base.gradients, 1e-6, kGradientBefore, "accumulation");
  const OpResult recomputed = run_op(c, {.threads = 2, .recompute = Recompute::block});
  const OpResult kept = run_op(c, {.threads = 2});
  expect_same_bits(recomputed.outputs, kept.outputs, "recomputation");
  expect_same_bits(recomputed.gradients, kept.gradients, "recomputation");
  expect_same_bits(run_op(c, {.training = false}).outputs, base.outputs, "inference");
  check_frozen(c, base);
  if (test_gpu() != nullptr) {
    check_on_gpu(c, base);
  }
}

std::vector<OpRun> runs_everywhere() {
  std::vector<OpRun> runs{{.threads = 2}};
  if (test_gpu() != nullptr) {
    runs.push_back({.device = test_gpu()});
  }
  return runs;
}

}  // namespace sft::testing
