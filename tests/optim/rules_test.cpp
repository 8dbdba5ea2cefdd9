// The optimizers beside AdamW against torch and bitsandbytes (tools/golden/optimizers.py makes the
// file).
#include "optim/rules.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "core/json.h"
#include "optim/optimizer.h"
#include "optim/optimizers.h"
#include "support/paths.h"

namespace sft {
namespace {

Json golden() {
  return read_json(std::filesystem::path(SFT_TEST_DIR) / "optim/golden/optimizers.json");
}

OptimizerSettings settings_of(const Json& c) {
  OptimOptions o;
  o.optim = c.value("optim", "lion_8bit");
  o.optim_args = c.value("optim_args", "");
  o.weight_decay = c["weight_decay"];
  if (c.contains("betas")) {
    o.adam_beta1 = c["betas"][0];
    o.adam_beta2 = c["betas"][1];
  }
  return optimizer_settings(o, 0);
}

ParamSpec vector_spec(const std::string& name, int64_t n, bool decay) {
  return {name, {n}, {{name, n}}, 0, decay ? ParamKind::matrix : ParamKind::norm, Init::normal};
}

TEST(Rules, follow_torch_and_bitsandbytes) {
  const auto device = Device::cpu(2);
  for (const Json& c : golden()["cases"]) {
    SCOPED_TRACE(c["name"].get<std::string>());
    std::vector<ParamSpec> specs;
    for (const Json& p : c["parameters"]) {
      specs.push_back(vector_spec(std::to_string(specs.size()),
                                  static_cast<int64_t>(p["values"].size()), p["decay"]));
    }
    const ParamLayout layout = layout_parameters(specs);
    std::vector<float> weights(static_cast<size_t>(layout.elements)), gradients(weights.size());
    const auto scatter = [&](size_t p, const Json& values, std::vector<float>& flat) {
      for (size_t i = 0; i < values.size(); ++i) {
        flat[static_cast<size_t>(layout.offsets[p]) + i] = values[i].get<float>();
      }
    };
    for (size_t p = 0; p < specs.size(); ++p) {
      scatter(p, c["parameters"][p]["values"], weights);
    }
    const OptimizerSettings settings = settings_of(c);
    Optimizer optimizer(*device, specs, layout, settings);
    int64_t step = 0;
    for (const Json& s : c["steps"]) {
      for (size_t p = 0; p < specs.size(); ++p) {
        scatter(p, s["gradients"][p], gradients);
      }
      optimizer.step({weights.data(), DType::f32, gradients.data(), s["rate"], 1.0, ++step});
      for (size_t p = 0; p < specs.size(); ++p) {
        for (size_t i = 0; i < s["weights"][p].size(); ++i) {
          const float want = s["weights"][p][i].get<float>();
          ASSERT_NEAR(weights[static_cast<size_t>(layout.offsets[p]) + i], want,
                      1e-6 * std::abs(want) + 1e-7)
              << "step " << step << ", weight " << p << ", element " << i;
        }
      }
    }
    size_t slots = 0;
    for (const StatePart& part : optimizer.parts()) {
      const size_t dot = part.name.rfind('.');
      const Json& want =
          c["state"][part.name.substr(0, dot)][std::stoul(part.name.substr(dot + 1))];
      const auto* const own = reinterpret_cast<const float*>(optimizer.data(part));
      ASSERT_EQ(static_cast<int64_t>(want.size()), part.end - part.begin) << part.name;
      for (size_t i = 0; i < want.size(); ++i) {
        EXPECT_NEAR(own[i], want[i].get<float>(), 3e-6 * std::abs(want[i].get<float>()) + 1e-7)
            << part.name << " " << i;
      }
      ++slots;
    }
    EXPECT_EQ(slots, c["state"].size() * specs.size());
    EXPECT_EQ(optimizer.bytes(), static_cast<int64_t>(c["state"].size() * weights.size() * 4));
  }
}

// Codes to the letter, weights within the last bit: a sign that flips would show at once.
TEST(Rules, lion_in_8_bits_follows_bitsandbytes) {
  const Json c = golden()["lion_8bit"];
  const int64_t n = c["shape"][0].get<int64_t>() * c["shape"][1].get<int64_t>();
  const std::vector<ParamSpec> specs{vector_spec("w", n, true)};
  const ParamLayout layout = layout_parameters(specs);
  const auto device = Device::cpu(2);
  Optimizer optimizer(*device, specs, layout, settings_of(c));
  // `values` of tools/golden/adamw_8bit.py
  const auto noise = [](int64_t i, int64_t salt) {
    const int64_t mixed = (i * 2654435761 + salt * 40503) % (int64_t{1} << 32);
    const double unit = static_cast<double>(mixed >> 8) / (1 << 24) - 0.5;
    return static_cast<float>(unit * std::pow(2.0, -static_cast<double>(i / 300 % 5)));
  };
  std::vector<float> weights(static_cast<size_t>(layout.elements)), gradients(weights.size());
  const auto fill = [&](std::vector<float>& flat, int64_t salt) {
    for (int64_t i = 0; i < n; ++i) {
      flat[static_cast<size_t>(i)] = noise(i, salt);
    }
  };
  fill(weights, 1);
  for (int64_t step = 1; step <= c["steps"].get<int64_t>(); ++step) {
    fill(gradients, 100 * step);
    optimizer.step({weights.data(), DType::f32, gradients.data(), c["rate"], 1.0, step});
  }
  for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
    ASSERT_NEAR(weights[i], c["weights"][i].get<float>(), 2e-7) << i;
  }
  ASSERT_EQ(optimizer.parts().size(), 2U);
  const auto* const codes = reinterpret_cast<const uint8_t*>(optimizer.data(optimizer.parts()[0]));
  const std::string hex = c["codes"];
  for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
    ASSERT_EQ(codes[i], std::stoi(hex.substr(2 * i, 2), nullptr, 16)) << i;
  }
  const auto* const scales = reinterpret_cast<const float*>(optimizer.data(optimizer.parts()[1]));
  for (size_t i = 0; i < c["scales"].size(); ++i) {
    EXPECT_NEAR(scales[i], c["scales"][i].get<float>(), 1e-6F * scales[i]);
  }
}

TEST(Optimizers, arguments_that_a_rule_has_not_are_refused) {
  const auto refused = [](const std::string& optim, const std::string& args) {
    OptimOptions o;
    o.optim = optim;
    o.optim_args = args;
    try {
      optimizer_settings(o, 0);
    } catch (const Error& e) {
      return e.code();
    }
    return std::string();
  };
  EXPECT_EQ(refused("sgd", "momentum=0.9,nesterov=true"), "");
  EXPECT_EQ(refused("sgd", " momentum = 0.9 , dampening=0.1,"), "");
  for (const char* args : {"momentum", "momentum=", "momentum=x", "momentum=-1", "momentum=nan",
                           "nesterov=maybe", "nesterov=true", "weight_decay=0.1", "alpha=0.9"}) {
    EXPECT_EQ(refused("sgd", args), "C180") << args;
  }
  EXPECT_EQ(refused("adamw_torch", "momentum=0.9"), "C180");
  EXPECT_EQ(refused("lion_8bit", "beta1=0.9"), "C180");
}

}  // namespace
}  // namespace sft
