// Attention step by step against attention over the whole text, and the steps' own token.
#include "ops/step_attention.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <cmath>

#include "core/rng.h"
#include "formats/convert.h"
#include "graph/executor.h"
#include "ops/attention_reference.h"

namespace sft::testing {
namespace {

struct StepCase {
  Heads heads;
  int64_t rotated = 0;  // 0: nothing
  int window = 0;
  float cap = 0.0F;
  float query_beta = 0.0F;
  int64_t room = 300;  // positions of each text in the cache
};

constexpr int kTexts = 2;

RopeFrequencies frequencies_of(const StepCase& c) {
  RopeFrequencies f;
  for (int64_t i = 0; i < c.rotated / 2; ++i) {
    f.inv_freq.push_back(static_cast<float>(
        std::pow(1e4, -2.0 * static_cast<double>(i) / static_cast<double>(c.rotated))));
  }
  f.query_beta = c.query_beta;
  f.query_period = 16;
  return f;
}

// The heads of a token at `position` as rope turns them.
void turn(const StepCase& c, const RopeFrequencies& f, int64_t position, double* row) {
  const int64_t half = c.rotated / 2;
  for (int h = 0; h < c.heads.heads + c.heads.kv_heads; ++h) {
    double* const head = row + int64_t{h} * c.heads.head_dim;
    const double scale =
        h < c.heads.heads ? 1.0 + f.query_beta * std::log(1.0 + static_cast<double>(position / 16))
                          : 1.0;
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(position) * f.inv_freq[static_cast<size_t>(i)];
      const double a = head[i];
      const double b = head[i + half];
      head[i] = scale * (a * std::cos(angle) - b * std::sin(angle));
      head[i + half] = scale * (b * std::cos(angle) + a * std::sin(angle));
    }
  }
}

// Both texts, the second some tokens behind, one token at a time; returns the largest distance from
// attention over each text as a whole.
double farthest(const StepCase& c, Device& device, DType type) {
  constexpr int kTokens = 150, kBehind = 17;
  const RopeFrequencies f = frequencies_of(c);
  const float scale = 1.0F / std::sqrt(static_cast<float>(c.heads.head_dim));
  const Attention options{c.heads, scale, c.window, 0, c.cap};
  const int64_t row = c.heads.row();
  const int64_t width = 2 * int64_t{c.heads.kv_heads} * c.heads.head_dim;
  const int64_t out = int64_t{c.heads.heads} * c.heads.head_dim;
  std::vector<Numbers> fresh, want;
  for (int text = 0; text < kTexts; ++text) {
    fresh.push_back(activation({kTokens, row}, static_cast<uint64_t>(text) + 1).values);
    Numbers turned = fresh.back();
    for (int t = 0; t < kTokens; ++t) {
      turn(c, f, t, turned.data() + t * row);
    }
    want.push_back(attention_reference(turned, {0, kTokens}, options));
  }
  Program p(Program::Purpose::inference, Recompute::none, device.target(type));
  const Value qkv = p.input("qkv", {kTexts, row}, type);
  const Value cache = p.input("cache", {kTexts * c.room, width}, type);
  const Value past = p.input("past", {kTexts, 2}, DType::i32);
  const Value positions = p.input("positions", {kTexts}, DType::i32);
  EXPECT_TRUE(takes_step_attention(p, c.heads, c.rotated, false));
  const Value table = c.rotated > 0 ? rope_table(p, positions, {}, f) : Value{};
  const Value y = step_attention(p, qkv, table, c.rotated, cache, past, options);
  p.keep(y);
  Arena arena(device);
  Executor executor(device, arena, std::move(p));
  const auto cache_bytes = static_cast<size_t>(kTexts * c.room * width) * size_of(type);
  const Buffer inputs = device.allocate(static_cast<size_t>(kTexts * row) * 4 + 256);
  const Buffer held = device.allocate(cache_bytes);
  const std::vector<std::byte> nans(cache_bytes, std::byte{0xff});
  device.upload(held.data(), nans.data(), cache_bytes);
  std::byte* const places = inputs.data() + inputs.size() - 128;
  Bindings bindings;
  bindings.inputs["qkv"] = {inputs.data(), {kTexts, row}, type};
  bindings.inputs["cache"] = {held.data(), {kTexts * c.room, width}, type};
  bindings.inputs["past"] = {places, {kTexts, 2}, DType::i32};
  bindings.inputs["positions"] = {places + 64, {kTexts}, DType::i32};
  double most = 0;
  const auto bytes = static_cast<size_t>(row) * size_of(type);
  std::vector<std::byte> token(bytes);
  std::vector<std::byte> got(static_cast<size_t>(kTexts * out) * size_of(type));
  std::vector<float> values(static_cast<size_t>(std::max(row, kTexts * out)));
  for (int step = 0; step < kTokens; ++step) {
    std::array<int32_t, 4> past_values{};
    std::array<int32_t, kTexts> at{};
    for (int text = 0; text < kTexts; ++text) {
      at[static_cast<size_t>(text)] = std::max(0, step - kBehind * text);
      const int32_t here = at[static_cast<size_t>(text)];
      past_values[static_cast<size_t>(2 * text)] =
          static_cast<int32_t>((kTexts - 1 - text) * c.room);
      past_values[static_cast<size_t>(2 * text) + 1] = here;
      const auto first = fresh[static_cast<size_t>(text)].begin() + here * row;
      std::copy(first, first + row, values.begin());
      convert_from_f32(type, values.data(), row, token.data());
      device.upload(inputs.data() + static_cast<size_t>(text) * bytes, token.data(), bytes);
    }
    device.upload(places, past_values.data(), sizeof(past_values));
    device.upload(places + 64, at.data(), sizeof(at));
    executor.run(bindings);
    device.download(got.data(), executor.tensor(y).data, got.size());
    convert_to_f32(type, got.data(), kTexts * out, values.data());
    for (int text = 0; text < kTexts; ++text) {
      const double* const right =
          want[static_cast<size_t>(text)].data() + at[static_cast<size_t>(text)] * out;
      for (int64_t i = 0; i < out; ++i) {
        const double distance = std::abs(values[static_cast<size_t>(text * out + i)] - right[i]);
        most = std::isnan(distance) ? INFINITY : std::max(most, distance);
      }
    }
  }
  return most;
}

TEST(StepAttention, equals_attention_over_the_whole_text) {
  const std::vector<StepCase> cases{
      {{14, 2, 64}, 64},
      {{8, 8, 128}, 128, 40},
      {{6, 2, 16}, 16, 0, 1.5F},
      {{9, 1, 32}, 16},
      {{4, 2, 256}, 0, 7},
      {{4, 1, 64}, 64, 0, 0.0F, 0.1F},
      {{4, 2, 64}, 64, 0, 0.0F, 0.0F, 5000},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(fmt::format("case {}", i));
    for (const OpRun& run : runs_everywhere()) {
      const auto cpu = run.device == nullptr ? Device::cpu(2) : nullptr;
      Device& device = cpu ? *cpu : *run.device;
      EXPECT_LT(farthest(cases[i], device, DType::f32), 3e-5);
      if (device.kind() == DeviceKind::cuda) {
        EXPECT_LT(farthest(cases[i], device, DType::bf16), 3e-2);
      }
    }
  }
}

}  // namespace
}  // namespace sft::testing
