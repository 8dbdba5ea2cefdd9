// A text that grows past what a model's short frequencies are for: its keys are turned anew.
#include "run/generator.h"

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

}  // namespace
}  // namespace sft
