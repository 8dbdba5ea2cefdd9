// Times the kernels of one step of generation by themselves, each many times in one recording, on
// weights that no cache holds. usage: decode_ops [cpu THREADS]
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>

#include "core/rng.h"
#include "device/device.h"
#include "graph/executor.h"
#include "ops/few_rows.h"
#include "ops/next_token.h"
#include "ops/step_attention.h"

namespace {

using namespace sft;

constexpr int kTimes = 64;

DType compute_of(const Device& device) {
  return device.kind() == DeviceKind::cpu ? DType::f32 : DType::bf16;
}

struct Bound {
  Program p;
  Bindings bindings;
  std::vector<Buffer> memory;
};

double microseconds(Device& device, Bound& b) {
  Arena arena(device);
  Executor executor(device, arena, std::move(b.p));
  double best = 1e9;
  for (int i = 0; i < 6; ++i) {
    device.synchronize();
    const auto start = std::chrono::steady_clock::now();
    executor.run(b.bindings);
    device.synchronize();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = i < 2 ? best : std::min(best, took.count());
  }
  return best * 1e6 / kTimes;
}

void product(Device& device, const char* words, int64_t out, int64_t in, DType type, bool normed,
             bool gated, int64_t rows) {
  Bound b{
      Program(Program::Purpose::inference, Recompute::none, {device.kind(), compute_of(device)}),
      {},
      {}};
  if (is_packed(type) && in % packing_of(type).values != 0) {
    return;
  }
  const size_t bytes = bytes_of(type, {out, in});
  const int weights =
      static_cast<int>(std::max<size_t>(2, std::min<size_t>(kTimes, (size_t{400} << 20) / bytes)));
  std::vector<Value> values;
  for (int i = 0; i < weights; ++i) {
    b.memory.push_back(device.allocate(bytes));
    values.push_back(b.p.parameter(i, fmt::format("w{}", i), {out, in}, type, false));
    b.bindings.parameters.push_back({b.memory.back().data(), {out, in}, type});
  }
  b.memory.push_back(device.allocate(static_cast<size_t>(rows * in) * 4));
  b.bindings.inputs["x"] = {b.memory.back().data(), {rows, in}, compute_of(device)};
  b.memory.push_back(device.allocate(static_cast<size_t>(in) * 4));
  b.bindings.inputs["norm"] = {b.memory.back().data(), {in}, DType::f32};
  const Value x = b.p.input("x", {rows, in}, compute_of(device));
  const Value norm = b.p.input("norm", {in}, DType::f32);
  const Value y = b.p.activation("y", {rows, gated ? out / 2 : out});
  for (int i = 0; i < kTimes; ++i) {
    FewRows how;
    if (normed) {
      how.norm = RmsNorm{};
    }
    if (gated) {
      how.gated = Activation::silu;
    }
    emit_few_rows(b.p, x, normed ? norm : Value{},
                  {values[static_cast<size_t>(i % weights)], {}, {}}, how, y);
  }
  const double us = microseconds(device, b);
  fmt::print("{:<14} {:>6} x {:<6} {:<8} rows {}: {:7.2f} us, {:5.0f} GB/s\n", words, out, in,
             name_of(type), rows, us, static_cast<double>(bytes) / us / 1e3);
}

void attention(Device& device, const Heads& heads, int64_t keys) {
  Bound b{
      Program(Program::Purpose::inference, Recompute::none, {device.kind(), compute_of(device)}),
      {},
      {}};
  const int64_t width = 2 * int64_t{heads.kv_heads} * heads.head_dim;
  const int64_t rows = keys + 8;
  const auto add = [&](const std::string& name, const Shape& shape, DType type) {
    b.memory.push_back(device.allocate(bytes_of(type, shape)));
    b.bindings.inputs[name] = {b.memory.back().data(), shape, type};
    return b.p.input(name, shape, type);
  };
  const Value qkv = add("qkv", {1, heads.row()}, compute_of(device));
  const Value table = add("table", {1, heads.head_dim}, DType::f32);
  const Value past = add("past", {1, 2}, DType::i32);
  const std::array<int32_t, 2> place{0, static_cast<int32_t>(keys)};
  device.upload(b.memory.back().data(), place.data(), sizeof(place));
  for (int i = 0; i < kTimes; ++i) {
    const Value cache = add(fmt::format("cache{}", i), {rows, width}, compute_of(device));
    step_attention(b.p, qkv, table, heads.head_dim, cache, past, {heads, 0.1F, 0, 0, 0.0F});
  }
  fmt::print("attention      {} heads, {} of keys, {}, {} keys: {:7.2f} us\n", heads.heads,
             heads.kv_heads, heads.head_dim, keys, microseconds(device, b));
}

void pick(Device& device, int64_t vocab) {
  Bound b{
      Program(Program::Purpose::inference, Recompute::none, {device.kind(), compute_of(device)}),
      {},
      {}};
  const auto add = [&](const std::string& name, const Shape& shape, DType type) {
    b.memory.push_back(device.allocate(bytes_of(type, shape)));
    b.bindings.inputs[name] = {b.memory.back().data(), shape, type};
    return b.p.input(name, shape, type);
  };
  const Value logits = add("logits", {1, vocab}, compute_of(device));
  const Value tokens = add("tokens", {1}, DType::i32);
  const Value positions = add("positions", {1}, DType::i32);
  const Value past = add("past", {1, 2}, DType::i32);
  const Value written = add("written", {100000}, DType::i32);
  for (int i = 0; i < kTimes; ++i) {
    emit_next_token(b.p, logits, {tokens, positions, past, written});
  }
  fmt::print("next_token     of {}: {:7.2f} us\n", vocab, microseconds(device, b));
}

}  // namespace

int main(int count, char** words) {
  if (count > 1) {
    const auto device = Device::cpu(count > 2 ? std::atoi(words[2]) : 1);
    fmt::print("{}\n", device->name());
    for (const DType type : {DType::q8_0, DType::q5_0, DType::q4_0, DType::q4_k, DType::q6_k,
                             DType::f16, DType::bf16, DType::f32}) {
      product(*device, "135M gate_up", 3072, 576, type, true, true, 1);
      product(*device, "135M down", 576, 1536, type, false, false, 1);
      product(*device, "135M head", 49152, 576, type, false, false, 1);
    }
    attention(*device, {9, 3, 64}, 100);
    pick(*device, 49152);
    return 0;
  }
  const auto device = Device::cuda(0, 2);
  fmt::print("{}\n", device->name());
  for (const DType type : {DType::bf16, DType::q8_0, DType::q4_k, DType::nf4, DType::f8_rows}) {
    product(*device, "0.5B qkv", 1152, 896, type, true, false, 1);
    product(*device, "0.5B output", 896, 896, type, false, false, 1);
    product(*device, "0.5B gate_up", 9728, 896, type, true, true, 1);
    product(*device, "0.5B down", 896, 4864, type, false, false, 1);
    product(*device, "0.5B head", 151936, 896, type, false, false, 1);
    product(*device, "7B qkv", 4608, 3584, type, true, false, 1);
    product(*device, "7B output", 3584, 3584, type, false, false, 1);
    product(*device, "7B gate_up", 37888, 3584, type, true, true, 1);
    product(*device, "7B down", 3584, 18944, type, false, false, 1);
  }
  product(*device, "7B gate_up", 37888, 3584, DType::bf16, true, true, 4);
  for (const int64_t keys : {100, 2000, 30000}) {
    attention(*device, {14, 2, 64}, keys);
    attention(*device, {28, 4, 128}, keys);
  }
  pick(*device, 151936);
}
