// A text that grows past what a model's short frequencies are for: its keys are turned anew.
#include "run/generator.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <numeric>

#include "io/model_source.h"
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

// A state does not go back: what comes before is read again.
TEST(Generator, of_a_model_with_states_goes_on_from_any_place) {
  const auto device = Device::cpu(2);
  for (const char* const name : {"qwen3_5", "lfm2"}) {
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

}  // namespace
}  // namespace sft
