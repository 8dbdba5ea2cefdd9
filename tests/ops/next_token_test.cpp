#include "ops/next_token.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/rng.h"
#include "ops/kernels.h"
#include "support/op_case.h"

namespace sft::testing {
namespace {

struct Taken {
  std::vector<int32_t> tokens, positions, past, written;
};

Taken take(Device& device, const std::vector<float>& logits, int64_t texts) {
  const auto vocab = static_cast<int64_t>(logits.size()) / texts;
  Taken t{{-1, -1}, {5, 9}, {10, 5, 0, 9}, std::vector<int32_t>(20, -1)};
  const auto hold = [&](const auto& values) {
    Buffer buffer = device.allocate(values.size() * 4);
    device.upload(buffer.data(), values.data(), values.size() * 4);
    return buffer;
  };
  const Buffer row = hold(logits), tokens = hold(t.tokens), positions = hold(t.positions),
               past = hold(t.past), written = hold(t.written);
  Tensor a{tokens.data(), {texts}, DType::i32}, b{positions.data(), {texts}, DType::i32},
      c{past.data(), {texts, 2}, DType::i32}, d{written.data(), {20}, DType::i32};
  kernels(device).next_token(device, {row.data(), {texts, vocab}, DType::f32}, a, b, c, d);
  const auto bring = [&](const Buffer& from, std::vector<int32_t>& to) {
    device.download(to.data(), from.data(), to.size() * 4);
  };
  bring(tokens, t.tokens);
  bring(positions, t.positions);
  bring(past, t.past);
  bring(written, t.written);
  return t;
}

TEST(NextToken, is_the_likeliest_of_each_text_and_the_lower_of_two) {
  for (const OpRun& run : runs_everywhere()) {
    const auto cpu = run.device == nullptr ? Device::cpu(1) : nullptr;
    Device& device = cpu ? *cpu : *run.device;
    for (const int64_t vocab : {3, 1000, 1024, 50001}) {
      std::vector<float> logits(static_cast<size_t>(2 * vocab));
      for (size_t i = 0; i < logits.size(); ++i) {
        logits[i] = std::round(8.0F * normal(1, 0, i)) / 8.0F;  // many are equal
      }
      const Taken t = take(device, logits, 2);
      for (int64_t text = 0; text < 2; ++text) {
        const auto first = logits.begin() + text * vocab;
        const auto best = static_cast<int32_t>(std::max_element(first, first + vocab) - first);
        EXPECT_EQ(t.tokens[static_cast<size_t>(text)], best) << vocab;
      }
      EXPECT_EQ(t.positions, (std::vector<int32_t>{6, 10}));
      EXPECT_EQ(t.past, (std::vector<int32_t>{10, 6, 0, 10}));
      EXPECT_EQ(t.written[15], t.tokens[0]);
      EXPECT_EQ(t.written[9], t.tokens[1]);
      EXPECT_EQ(std::ranges::count(t.written, -1), 18);
    }
  }
}

}  // namespace
}  // namespace sft::testing
