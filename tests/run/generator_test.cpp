// A text that grows past what a model's short frequencies are for: its keys are turned anew.
#include "run/generator.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <numeric>

#include "io/model_source.h"
#include "run/stored_weights.h"
#include "state/config_sizes.h"
#include "state/loaded_model.h"
#include "support/paths.h"

namespace sft {
namespace {

std::vector<int32_t> words(int count) {
  std::vector<int32_t> ids(static_cast<size_t>(count));
  std::iota(ids.begin(), ids.end(), 3);
  return ids;
}

TEST(Generator, of_longrope_gives_what_the_whole_text_at_once_gives) {
  const auto device = Device::cpu(2);
  const auto source =
      ModelSource::open(SFT_TEST_DIR "/model/golden/phi3_longrope", "", HubEnvironment{});
  const LoadedModel model = load_model(*source, *device, DType::f32);
  ASSERT_EQ(model.model.config.ropes[0].short_length, 32);
  const auto at_once = [&](int count) {
    Generator generator(*device, model, 64);
    const auto logits = generator.feed(words(count));
    return std::vector<float>(logits.begin(), logits.end());
  };
  const auto near = [](std::span<const float> a, const std::vector<float>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < b.size(); ++i) {
      ASSERT_NEAR(a[i], b[i], 1e-5) << i;
    }
  };
  Generator growing(*device, model, 64);
  near(growing.feed(words(20)), at_once(20));
  for (const int count : {30, 32, 33, 40}) {  // the 33rd token is beyond
    SCOPED_TRACE(count);
    const std::vector<int32_t> all = words(count);
    near(growing.feed(std::span(all).subspan(static_cast<size_t>(growing.past()))), at_once(count));
    EXPECT_EQ(growing.past(), count);
  }
  growing.rewind(10);
  const std::vector<int32_t> all = words(15);
  near(growing.feed(std::span(all).subspan(10)), at_once(15));
}

// What a router corrects its choice by was frozen before the rest was.
TEST(Generator, of_weights_as_they_are_stored_gives_what_the_model_does) {
  const auto device = Device::cpu(2);
  const auto source =
      ModelSource::open(SFT_TEST_DIR "/model/golden/glm4_moe", "", HubEnvironment{});
  Model shape = described_model(*source);
  keep_as_stored(shape, source.get(), device->kind());
  const LoadedModel stored =
      load_model(*source, std::move(shape), *device, DType::f32, DType::f32, {});
  const LoadedModel model = load_model(*source, *device, DType::f32);
  Generator ours(*device, stored, 64), plain(*device, model, 64);
  const auto a = ours.feed(words(20)), b = plain.feed(words(20));
  EXPECT_TRUE(std::ranges::equal(a, b));
}

// A state does not go back: what comes before is read again.
TEST(Generator, of_a_model_with_states_goes_on_from_any_place) {
  const auto device = Device::cpu(2);
  for (const char* const name : {"qwen3_5", "qwen3_next", "lfm2"}) {
    SCOPED_TRACE(name);
    const auto source = ModelSource::open(fmt::format("{}/model/golden/{}", SFT_TEST_DIR, name), "",
                                          HubEnvironment{});
    const LoadedModel model = load_model(*source, *device, DType::f32);
    const auto expect_at_once = [&](std::span<const float> got, const std::vector<int32_t>& ids) {
      Generator generator(*device, model, 64);
      const auto want = generator.feed(ids);
      for (size_t i = 0; i < want.size(); ++i) {
        ASSERT_NEAR(got[i], want[i], 1e-5) << i;
      }
    };
    Generator generator(*device, model, 64);
    const std::vector<int32_t> all = words(40);
    const std::span<const int32_t> text(all);
    generator.feed(text.first(20));
    for (const auto& [back, to] :
         std::vector<std::pair<int, int>>{{20, 21}, {10, 11}, {10, 30}, {0, 5}, {4, 40}}) {
      SCOPED_TRACE(back);
      generator.rewind(back);
      const auto from = static_cast<size_t>(back);
      expect_at_once(generator.feed(text.subspan(from, static_cast<size_t>(to) - from)), words(to));
      EXPECT_EQ(generator.past(), to);
    }
    generator.rewind(7);
    const std::vector<int32_t> other{9, 8, 7};
    std::vector<int32_t> changed = words(7);
    changed.insert(changed.end(), other.begin(), other.end());
    expect_at_once(generator.feed(other), changed);
  }
}

TEST(Generator, lanes_with_states_are_as_they_are_alone) {
  const auto device = Device::cpu(2);
  const auto source =
      ModelSource::open(SFT_TEST_DIR "/model/golden/qwen3_5_grouped", "", HubEnvironment{});
  const LoadedModel model = load_model(*source, *device, DType::f32);
  Generator together(*device, model, GeneratorRoom{32, 3});
  const std::vector<std::vector<int32_t>> texts{{5, 6, 7}, {9, 8, 7, 6, 5, 4}, {11}};
  for (size_t lane = 0; lane < texts.size(); ++lane) {
    together.feed(texts[lane], lane);
  }
  const std::vector<size_t> lanes{2, 0};
  const std::vector<int32_t> next{21, 22};
  const auto both = together.step(lanes, next);
  const auto vocab = static_cast<size_t>(together.vocab());
  for (size_t i = 0; i < lanes.size(); ++i) {
    std::vector<int32_t> text = texts[lanes[i]];
    text.push_back(next[i]);
    Generator alone(*device, model, 32);
    const auto want = alone.feed(text);
    for (size_t k = 0; k < vocab; ++k) {
      ASSERT_NEAR(both[i * vocab + k], want[k], 1e-5) << lanes[i];
    }
  }
}

// A CPU, and the GPU that tests shall run on, if there is one.
std::vector<std::unique_ptr<Device>> devices() {
  std::vector<std::unique_ptr<Device>> out;
  out.push_back(Device::cpu(2));
  if (std::getenv("SFT_TEST_CUDA") != nullptr) {
    out.push_back(Device::cuda(0, 2));
  }
  return out;
}

std::unique_ptr<ModelSource> golden(const std::string& family) {
  return ModelSource::open(SFT_TEST_DIR "/model/golden/" + family, "", HubEnvironment{});
}

constexpr const char* kFamilies[] = {"llama3",        "qwen2_window", "qwen3",    "gemma2",
                                     "granite",       "phi3",         "cohere2",  "starcoder2",
                                     "olmo2_grouped", "hunyuan",      "qwen3_moe"};

TEST(Generator, a_text_token_by_token_gives_the_logits_of_the_whole_text) {
  for (const auto& device : devices()) {
    for (const char* const family : kFamilies) {
      SCOPED_TRACE(device->name() + " " + family);
      const auto source = golden(family);
      const LoadedModel model = load_model(*source, *device, DType::f32);
      const std::vector<int32_t> text = words(24);
      Generator whole(*device, model, 32);
      Generator steps(*device, model, 32);
      steps.feed(std::span(text).first(1));
      for (size_t n = 1; n < text.size(); ++n) {
        const auto last = steps.feed(std::span(text).subspan(n, 1));
        whole.rewind(0);
        const auto want = whole.feed(std::span(text).first(n + 1));
        float most = 0.0F;
        for (const float x : want) {
          most = std::max(most, std::abs(x));
        }
        for (size_t i = 0; i < want.size(); ++i) {
          ASSERT_NEAR(last[i], want[i], 1e-4F * most) << "token " << n << ", logit " << i;
        }
      }
    }
  }
}

// The device picks tokens by itself and, on a GPU, is one run ahead of the host.
TEST(Generator, writes_what_steps_with_the_likeliest_token_give) {
  for (const auto& device : devices()) {
    for (const char* const family : kFamilies) {
      SCOPED_TRACE(device->name() + " " + family);
      const auto source = golden(family);
      const LoadedModel model = load_model(*source, *device, DType::f32);
      std::vector<int32_t> want;
      Generator steps(*device, model, GeneratorRoom{30, 2});
      auto logits = steps.feed(words(5), 1);
      for (int i = 0; i < 20; ++i) {
        want.push_back(pick_token(logits, {}, 0));
        logits = steps.feed(std::span(want).last(1), 1);
      }
      Generator generator(*device, model, GeneratorRoom{30, 2});
      for (const size_t stop : {size_t{7}, size_t{20}, size_t{1}}) {
        std::vector<int32_t> got;
        generator.rewind(0, 1);
        generator.write(
            generator.feed(words(5), 1), 20, {},
            [&](int32_t id) {
              got.push_back(id);
              return got.size() < stop;
            },
            1);
        EXPECT_EQ(got, std::vector<int32_t>(want.begin(), want.begin() + static_cast<long>(stop)));
        EXPECT_EQ(generator.past(1), 5 + static_cast<int64_t>(stop) - 1);
        EXPECT_EQ(generator.past(0), 0);
      }
    }
  }
}

TEST(Generator, writes_until_its_room_is_full) {
  const auto device = Device::cpu(1);
  const auto source = golden("llama3");
  const LoadedModel model = load_model(*source, *device, DType::f32);
  Generator generator(*device, model, 8);
  for (const bool sample : {false, true}) {
    SamplingOptions options;
    options.sample = sample;
    int64_t written = 0;
    generator.rewind(0);
    generator.generate(words(5), 100, options, [&](int32_t) { return ++written > 0; });
    EXPECT_EQ(written, 4);  // three that were taken in, and one behind them
    EXPECT_EQ(generator.past(), 8);
  }
}

}  // namespace
}  // namespace sft
