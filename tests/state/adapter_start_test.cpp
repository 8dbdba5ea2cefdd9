// What an adapter begins with where it follows from the base's weights, and the base beneath it.
#include "state/adapter_start.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/file.h"
#include "formats/convert.h"
#include "support/paths.h"

namespace sft {
namespace {

class AdapterStarts : public ::testing::Test {
 protected:
  std::vector<float> read(AdapterStart& start, const std::string& name, int64_t n) {
    std::vector<float> values(static_cast<size_t>(n));
    start.read(*source_, name, {0, n}, values.data(), pool_);
    return values;
  }
  AdapterStart begin(const LoraConfig& config) {
    plan_ = plan_adapters(model_, config);
    return AdapterStart::drawn(config, plan_, 42);
  }
  std::vector<float> stored(const std::string& name) {
    std::vector<float> values(static_cast<size_t>(source_->shape(name).elements()));
    source_->read_f32(name, values.data());
    return values;
  }

  ThreadPool pool_{2};
  const std::unique_ptr<ModelSource> source_ =
      ModelSource::open(SFT_TEST_DIR "/golden/models/chatml", "", {});
  const Model model_ = Model::from_config(source_->config());
  AdapterPlan plan_;
  static constexpr const char* kModule = "model.layers.1.mlp.up_proj";  // (40, 24)
  const std::string weight_ = std::string(kModule) + ".weight";
  const std::string own_ = std::string(kAdapterPrefix) + kModule;
};

LoraConfig config_of(const std::string& init) {
  LoraConfig c;
  c.r = 3;
  c.alpha = 6;
  c.target_expression = "all-linear";
  c.init = init;
  return c;
}

// A plan of a large model is made without its numbers, which would be many gigabytes here, and so
// is the base beneath it.
TEST_F(AdapterStarts, nothing_is_drawn_before_it_is_read) {
  const LoraConfig config = config_of("true");
  AdapterPlan plan = plan_adapters(model_, config);
  plan.targets.front().in = int64_t{1} << 50;
  AdapterStart start = AdapterStart::drawn(config, plan, 42);
  EXPECT_FALSE(start.changes(weight_));
  EXPECT_EQ(read(start, weight_, 40 * 24), stored(weight_));
}

// What an adapter adds to experts, by PEFT's formula, where each expert's matrix is published as
// (out, in) and where it is the other way round: W + scale B_e A_e, or its transpose.
TEST(AdapterStart, adds_to_each_expert_what_its_adapter_says) {
  for (const bool turned : {false, true}) {
    SCOPED_TRACE(turned);
    AdapterTarget t{"mlp.experts", 5, 4};
    t.kind = AdapterTarget::Kind::experts;
    t.rank = 2;
    t.experts = 3;
    t.scale = 0.5F;
    t.turned = turned;
    AdapterPlan plan;
    plan.targets = {t};
    std::map<std::string, std::vector<float>> values;
    const auto numbers = [](int64_t n, float step) {
      std::vector<float> out(static_cast<size_t>(n));
      for (size_t i = 0; i < out.size(); ++i) {
        out[i] = std::sin(step * static_cast<float>(i + 1));
      }
      return out;
    };
    const std::vector<float> a = values[tensor_a(t)] = numbers(t.ranks() * t.in, 0.7F);
    const std::vector<float> b = values[tensor_b(t)] = numbers(t.out * t.ranks(), 1.3F);
    AdapterStart start = AdapterStart::given({}, plan, values);
    const auto source = ModelSource::open(SFT_TEST_DIR "/golden/models/chatml", "", {});
    ThreadPool pool(2);
    std::vector<float> want(60, 1.0F), got(60, 1.0F);
    for (int64_t e = 0; e < 3; ++e) {
      for (int64_t o = 0; o < 4; ++o) {
        for (int64_t i = 0; i < 5; ++i) {
          double sum = 0;
          for (int64_t k = 0; k < 2; ++k) {
            sum += double{b[static_cast<size_t>(o * 6 + k * 3 + e)]} *
                   double{a[static_cast<size_t>((e * 2 + k) * 5 + i)]};
          }
          want[static_cast<size_t>(e * 20 + (turned ? i * 4 + o : o * 5 + i))] +=
              static_cast<float>(0.5 * sum);
        }
      }
    }
    for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 7}, {7, 33}, {33, 60}}) {
      start.add_update(*source, t, {begin, end}, got.data() + begin, pool);
    }
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_NEAR(got[i], want[i], 1e-6F) << i;
    }
  }
}

TEST_F(AdapterStarts, magnitudes_are_the_rows_lengths) {
  LoraConfig c = config_of("true");
  c.dora = true;
  AdapterStart start = begin(c);
  const std::vector<float> w = stored(weight_);
  const std::vector<float> magnitude = read(start, own_ + ".lora_magnitude_vector", 40);
  for (size_t row = 0; row < 40; ++row) {
    double sum = 0;
    for (size_t i = 0; i < 24; ++i) {
      sum += std::pow(static_cast<double>(w[row * 24 + i]), 2);
    }
    EXPECT_FLOAT_EQ(magnitude[row], static_cast<float>(std::sqrt(sum)));
  }
}

// What is taken out of the base and what is left are the weight that it was.
TEST_F(AdapterStarts, the_base_keeps_what_an_adapter_does_not_take) {
  for (const char* init : {"pissa", "pissa_niter_2", "olora"}) {
    SCOPED_TRACE(init);
    AdapterStart start = begin(config_of(init));
    const std::vector<float> a = read(start, own_ + ".lora_A.weight", 3 * 24L);
    const std::vector<float> b = read(start, own_ + ".lora_B.weight", 40 * 3L);
    const std::vector<float> base = read(start, weight_, 40 * 24L);
    const std::vector<float> w = stored(weight_);
    double moved = 0;
    for (size_t row = 0; row < 40; ++row) {
      for (size_t i = 0; i < 24; ++i) {
        double sum = base[row * 24 + i];
        moved = std::max(moved, std::abs(sum - static_cast<double>(w[row * 24 + i])));
        for (size_t k = 0; k < 3; ++k) {
          sum += 2.0 * b[row * 3 + k] * a[k * 24 + i];
        }
        EXPECT_NEAR(sum, w[row * 24 + i], 1e-6);
      }
    }
    EXPECT_GT(moved, 1e-3);
    EXPECT_EQ(read(start, "model.norm.weight", 24), stored("model.norm.weight"));
  }
}

// PEFT makes an adapter in its base's type and widens it then.
TEST_F(AdapterStarts, values_are_rounded_to_the_type_of_the_base) {
  AdapterStart start = begin(config_of("true"));
  const std::vector<float> wide = read(start, own_ + ".lora_A.weight", 3 * 24L);
  start.round_to(DType::bf16);
  const std::vector<float> narrow = read(start, own_ + ".lora_A.weight", 3 * 24L);
  EXPECT_NE(wide, narrow);
  std::vector<std::byte> stored(narrow.size() * 2);
  std::vector<float> again(narrow.size());
  convert_from_f32(DType::bf16, wide.data(), 3 * 24L, stored.data());
  convert_to_f32(DType::bf16, stored.data(), 3 * 24L, again.data());
  EXPECT_EQ(narrow, again);
}

TEST_F(AdapterStarts, what_is_trained_whole_begins_as_the_base_has_it) {
  LoraConfig c = config_of("true");
  c.modules_to_save = {"lm_head", "up_proj"};
  c.trainable_tokens = {{"embed_tokens", {7, 2}}};
  AdapterStart start = begin(c);
  const std::vector<float> table = stored(kEmbeddingWeight);
  EXPECT_EQ(read(start, "base_model.model.lm_head.weight", 336 * 24L), table);
  EXPECT_EQ(read(start, own_ + ".weight", 40 * 24L), stored(weight_));
  const std::vector<float> rows = read(start, tensor_tokens(kEmbeddingModule), 2 * 24L);
  EXPECT_EQ(rows[0], table[7 * 24]);
  EXPECT_EQ(rows[24 + 5], table[2 * 24 + 5]);
}

}  // namespace
}  // namespace sft
