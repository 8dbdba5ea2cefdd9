// AdamW against torch.optim.AdamW (tools/golden/adamw.py makes the file).
#include "optim/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "core/json.h"
#include "core/rng.h"
#include "support/paths.h"

namespace sft {
namespace {

// One golden case, its tensors laid out flat.
struct Replay {
  explicit Replay(const Json& golden_case, int threads = 2)
      : golden(golden_case), device(Device::cpu(threads)) {
    for (const Json& p : golden["parameters"]) {
      const auto n = static_cast<int64_t>(p["values"].size());
      const std::string name = std::to_string(specs.size());
      specs.push_back({name,
                       {n},
                       {{name, n}},
                       0,
                       p["decay"].get<bool>() ? ParamKind::matrix : ParamKind::norm,
                       Init::normal});
    }
    layout = layout_parameters(specs);
    weights.resize(static_cast<size_t>(layout.elements));
    gradients.resize(weights.size());
    for (size_t i = 0; i < specs.size(); ++i) {
      scatter(i, golden["parameters"][i]["values"], weights);
    }
    const Json& betas = golden["betas"];
    optimizer = std::make_unique<Optimizer>(
        *device, specs, layout,
        OptimizerSettings{betas[0].get<double>(), betas[1].get<double>(),
                          golden["eps"].get<double>(), golden["weight_decay"].get<double>()});
  }

  void scatter(size_t parameter, const Json& values, std::vector<float>& flat) const {
    for (size_t i = 0; i < values.size(); ++i) {
      flat[static_cast<size_t>(layout.offsets[parameter]) + i] = values[i].get<float>();
    }
  }

  // Takes step `index` (from 0) and returns the norm of the gradients.
  double step(size_t index) {
    const Json& s = golden["steps"][index];
    for (size_t i = 0; i < specs.size(); ++i) {
      scatter(i, s["gradients"][i], gradients);
    }
    const double norm = l2_norm(*device, gradients.data(), static_cast<int64_t>(gradients.size()));
    OptimizerStep update;
    update.weights = weights.data();
    update.gradients = gradients.data();
    update.learning_rate = s["rate"].get<double>();
    update.clip = clip_factor(norm, golden["max_grad_norm"].get<double>());
    update.step = static_cast<int64_t>(index) + 1;
    optimizer->step(update);
    return norm;
  }

  void expect_equal(const Json& want, const float* flat, const char* what) const {
    for (size_t p = 0; p < specs.size(); ++p) {
      for (size_t i = 0; i < want[p].size(); ++i) {
        const float x = want[p][i].get<float>();
        ASSERT_NEAR(flat[static_cast<size_t>(layout.offsets[p]) + i], x, 3e-7 * std::abs(x) + 3e-8)
            << what << " " << p << ", element " << i;
      }
    }
  }

  const Json& golden;
  std::unique_ptr<Device> device;
  std::vector<ParamSpec> specs;
  ParamLayout layout;
  std::vector<float> weights, gradients;
  std::unique_ptr<Optimizer> optimizer;
};

Json cases() {
  return read_json(std::filesystem::path(SFT_TEST_DIR) / "optim/golden/adamw.json")["cases"];
}

TEST(AdamW, follows_torch) {
  const Json all = cases();
  for (const Json& golden : all) {
    SCOPED_TRACE(golden["name"].get<std::string>());
    Replay replay(golden);
    for (size_t i = 0; i < golden["steps"].size(); ++i) {
      const double norm = replay.step(i);
      const double want = golden["steps"][i]["norm"].get<double>();
      EXPECT_NEAR(norm, want, 1e-6 * want);
      replay.expect_equal(golden["steps"][i]["weights"], replay.weights.data(), "weight");
    }
    // The moments keep every digit: a beta rounded before it is taken from one would show here.
    for (size_t p = 0; p < replay.specs.size(); ++p) {
      const auto at = static_cast<size_t>(replay.layout.offsets[p]);
      for (size_t i = 0; i < golden["first"][p].size(); ++i) {
        const double first = golden["first"][p][i].get<double>();
        const double second = golden["second"][p][i].get<double>();
        EXPECT_NEAR(replay.optimizer->buffer(0, false).f32()[at + i], first,
                    2e-6 * std::abs(first) + 1e-8);
        EXPECT_NEAR(replay.optimizer->buffer(1, false).f32()[at + i], second, 1e-6 * second);
      }
    }
  }
}

// Enough elements that all threads take part.
TEST(AdamW, gives_the_same_bits_for_any_number_of_threads) {
  constexpr int64_t kElements = 50000;
  const std::vector<ParamSpec> specs{
      {"a", {kElements}, {{"a", kElements}}, 0, ParamKind::matrix, Init::normal},
      {"b", {kElements + 3}, {{"b", kElements + 3}}, 1, ParamKind::norm, Init::ones}};
  const ParamLayout layout = layout_parameters(specs);
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 2, 3}) {
    const auto device = Device::cpu(threads);
    Optimizer optimizer(*device, specs, layout, {0.9, 0.999, 1e-8, 0.01});
    std::vector<float> weights(static_cast<size_t>(layout.elements));
    std::vector<float> gradients(weights.size());
    for (size_t i = 0; i < weights.size(); ++i) {
      weights[i] = normal(1, 0, i);
      gradients[i] = normal(1, 1, i);
    }
    for (int64_t step = 1; step <= 3; ++step) {
      optimizer.step({weights.data(), DType::f32, gradients.data(), 1e-3, 0.7, step});
    }
    results.push_back(weights);
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
}

TEST(AdamW, decays_only_where_it_should) {
  const std::vector<ParamSpec> specs{
      {"norm", {4}, {{"norm", 4}}, 0, ParamKind::norm, Init::ones},
      {"matrix", {4}, {{"matrix", 4}}, 0, ParamKind::matrix, Init::normal}};
  const ParamLayout layout = layout_parameters(specs);
  const auto device = Device::cpu(1);
  Optimizer optimizer(*device, specs, layout, {0.9, 0.999, 1e-8, 0.5});
  std::vector<float> weights(static_cast<size_t>(layout.elements), 2.0F);
  std::vector<float> none(weights.size(), 0.0F);
  optimizer.step({weights.data(), DType::f32, none.data(), 0.1, 1.0, 1});
  EXPECT_EQ(weights[static_cast<size_t>(layout.offsets[0])], 2.0F);
  EXPECT_FLOAT_EQ(weights[static_cast<size_t>(layout.offsets[1])], 1.9F);
  EXPECT_EQ(optimizer.bytes(), static_cast<int64_t>(2 * weights.size() * sizeof(float)));
}

TEST(L2Norm, is_exact_and_the_same_for_any_number_of_threads) {
  for (const size_t n : {size_t{0}, size_t{1}, size_t{4095}, size_t{4097}, size_t{100003}}) {
    std::vector<float> x(n);
    double squares = 0.0;
    for (size_t i = 0; i < n; ++i) {
      x[i] = normal(7, 0, i);
      squares += double{x[i]} * x[i];
    }
    std::vector<double> norms;
    for (const int threads : {1, 2, 5}) {
      const auto device = Device::cpu(threads);
      norms.push_back(l2_norm(*device, x.data(), static_cast<int64_t>(n)));
    }
    EXPECT_NEAR(norms[0], std::sqrt(squares), 1e-6 * std::sqrt(squares));
    EXPECT_EQ(norms[0], norms[1]);
    EXPECT_EQ(norms[0], norms[2]);
  }
}

TEST(L2Norm, of_what_is_no_number_is_none) {
  const auto device = Device::cpu(2);
  std::vector<float> x(9000, 1.0F);
  x[8999] = NAN;
  EXPECT_TRUE(std::isnan(l2_norm(*device, x.data(), 9000)));
}

TEST(ClipFactor, as_clip_grad_norm_has_it) {
  EXPECT_EQ(clip_factor(0.5, 1.0), 1.0);
  EXPECT_EQ(clip_factor(1.0, 1.0), 1.0 / (1.0 + 1e-6));
  EXPECT_NEAR(clip_factor(10.0, 1.0), 0.1, 1e-7);
  EXPECT_EQ(clip_factor(0.0, 1.0), 1.0);
  EXPECT_EQ(clip_factor(1e30, 0.0), 1.0);  // no limit
  EXPECT_EQ(clip_factor(INFINITY, 1.0), 0.0);
  EXPECT_TRUE(std::isnan(clip_factor(NAN, 1.0)));
}

}  // namespace
}  // namespace sft
