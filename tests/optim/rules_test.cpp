// The optimizers beside AdamW against torch and bitsandbytes (tools/golden/optimizers.py makes the
// file).
#include "optim/rules.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "core/json.h"
#include "core/rng.h"
#include "optim/kernels.h"
#include "optim/optimizer.h"
#include "optim/optimizers.h"
#include "support/paths.h"

namespace sft {
namespace {

const Json& golden() {
  static const Json cases =
      read_json(std::filesystem::path(SFT_TEST_DIR) / "optim/golden/optimizers.json");
  return cases;
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

// Muon multiplies in bfloat16, so a last bit of that may differ; Adafactor is float32 throughout.
TEST(WholeSteps, follow_torch_and_transformers) {
  const auto device = Device::cpu(2);
  for (const Json& c : golden()["whole"]) {
    SCOPED_TRACE(c["name"].get<std::string>());
    std::vector<ParamSpec> specs{{"model.embed_tokens.weight", {4, 4}, {{"e", 4}}, 0}};
    for (const Json& shape : c["shapes"]) {
      const std::string name = std::to_string(specs.size() - 1);
      const Shape own(shape.get<std::vector<int64_t>>());
      specs.push_back({name, own, {{name, own[0]}}, 1, ParamKind::matrix, Init::normal});
    }
    specs.push_back({"lm_head.weight", {4, 4}, {{"h", 4}}, 2});
    const ParamLayout layout = layout_parameters(specs);
    std::vector<float> weights(static_cast<size_t>(layout.elements)), gradients(weights.size());
    const auto scatter = [&](size_t p, const Json& values, std::vector<float>& flat) {
      for (size_t i = 0; i < values.size(); ++i) {
        flat[static_cast<size_t>(layout.offsets[p + 1]) + i] = values[i].get<float>();
      }
    };
    for (size_t p = 0; p < c["weights"].size(); ++p) {
      scatter(p, c["weights"][p], weights);
    }
    const OptimizerSettings settings = settings_of(c);
    Optimizer optimizer(*device, specs, layout, settings);
    const Buffer workspace =
        device->allocate(static_cast<size_t>(whole_workspace(settings.whole, specs, 3)));
    const bool muon = settings.whole == WholeStep::muon;
    int64_t steps = 0;
    for (const Json& s : c["steps"]) {
      for (size_t p = 0; p < c["weights"].size(); ++p) {
        scatter(p, s["gradients"][p], gradients);
      }
      const OptimizerStep step{weights.data(), DType::f32, gradients.data(),
                               s["rate"],      1.0,        ++steps};
      optimizer.step(step);
      optimizer.step_whole(step, optimizer.range(), workspace.data());
      for (size_t p = 0; p < c["weights"].size(); ++p) {
        for (size_t i = 0; i < s["weights"][p].size(); ++i) {
          const float want = s["weights"][p][i].get<float>();
          const float tolerance = muon ? 0.01F * s["rate"].get<float>() * static_cast<float>(steps)
                                       : 3e-6F * std::abs(want);
          ASSERT_NEAR(weights[static_cast<size_t>(layout.offsets[p + 1]) + i], want,
                      tolerance + (muon ? 2e-4F : 1e-7F))
              << "step " << steps << ", weight " << p << ", element " << i;
        }
      }
    }
    size_t compared = 0;
    for (const StatePart& part : optimizer.parts()) {
      const size_t dot = part.name.rfind('.');
      const std::string slot = part.name.substr(0, dot);
      if (!c["state"].contains(slot) || !std::isdigit(part.name[dot + 1])) {
        continue;  // AdamW's, of embeddings and head
      }
      const Json& want = c["state"][slot][std::stoul(part.name.substr(dot + 1))];
      const auto* const own = reinterpret_cast<const float*>(optimizer.data(part));
      ASSERT_EQ(static_cast<int64_t>(want.size()), part.end - part.begin) << part.name;
      for (size_t i = 0; i < want.size(); ++i) {
        EXPECT_NEAR(own[i], want[i].get<float>(), 3e-6 * std::abs(want[i].get<float>()) + 1e-7)
            << part.name << " " << i;
      }
      ++compared;
    }
    EXPECT_EQ(compared, muon ? 2U : 5U);
  }
}

// transformers factors them over (1, taps), which gives each value a state of its own.
TEST(WholeSteps, of_adafactor_take_filters_value_by_value) {
  const auto device = Device::cpu(2);
  const auto trained = [&](const Shape& shape) {
    const std::vector<ParamSpec> specs{
        {"w", shape, {{"w", shape[0]}}, 0, ParamKind::filter, Init::normal}};
    const ParamLayout layout = layout_parameters(specs);
    std::vector<float> weights(static_cast<size_t>(layout.elements), 0.5F), gradients(weights);
    OptimOptions options;
    options.optim = "adafactor";
    Optimizer optimizer(*device, specs, layout, optimizer_settings(options, 0));
    for (int64_t s = 1; s <= 3; ++s) {
      for (size_t i = 0; i < 24; ++i) {
        gradients[i] = normal(7, static_cast<uint64_t>(s), i);
      }
      const OptimizerStep step{weights.data(), DType::f32, gradients.data(), 1e-2, 1.0, s};
      optimizer.step(step);
      optimizer.step_whole(step, optimizer.range(), nullptr);
    }
    weights.resize(24);
    return weights;
  };
  const std::vector<float> filters = trained({6, 1, 4});
  EXPECT_EQ(filters, trained({24}));
  EXPECT_NE(filters[23], 0.5F);
}

// What a device makes of gradients and states in three steps.
std::vector<float> directions(Device& device, WholeStep step, const Shape& shape) {
  OptimizerSettings settings;
  settings.whole = step;
  settings.epsilon = 1e-30;
  const bool vector = shape.rank() < 2;
  const int64_t n = shape.elements();
  const int64_t states = vector ? n : shape[0] + shape[1];
  const std::vector<ParamSpec> specs{{"w", shape, {{"w", shape[0]}}, 1}};
  const Buffer workspace =
      device.allocate(vector ? 0 : static_cast<size_t>(whole_workspace(step, specs, 3)));
  const Buffer values = device.allocate(static_cast<size_t>(n) * sizeof(float));
  const Buffer state = device.allocate(static_cast<size_t>(states) * sizeof(float));
  std::vector<float> host(static_cast<size_t>(n));
  for (int64_t s = 1; s <= 3; ++s) {
    for (size_t i = 0; i < host.size(); ++i) {
      host[i] = normal(3, static_cast<uint64_t>(s), i);
    }
    device.upload(values.data(), host.data(), host.size() * sizeof(float));
    const WholeTensor tensor{values.f32(),
                             vector ? 1 : shape[0],
                             vector ? n : shape[1],
                             vector,
                             {state.f32(), state.f32() + (vector ? 0 : shape[0]), state.f32()}};
    optim_kernels(device).whole(device, step, tensor, whole_scalars(settings, shape, 0.5, s),
                                workspace.data());
  }
  device.download(host.data(), values.data(), host.size() * sizeof(float));
  return host;
}

TEST(WholeSteps, the_gpu_does_the_same) {
  if (std::getenv("SFT_TEST_CUDA") == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  const auto gpu = Device::cuda(0, 2);
  const auto cpu = Device::cpu(2);
  for (const WholeStep step : {WholeStep::muon, WholeStep::adafactor}) {
    for (const Shape& shape : {Shape{96, 64}, Shape{64, 200}, Shape{520, 1032}, Shape{300}}) {
      if (step == WholeStep::muon && shape.rank() < 2) {
        continue;
      }
      SCOPED_TRACE(shape.text());
      const std::vector<float> want = directions(*cpu, step, shape);
      const std::vector<float> got = directions(*gpu, step, shape);
      EXPECT_EQ(got, directions(*gpu, step, shape));
      double difference = 0, size = 0;
      for (size_t i = 0; i < want.size(); ++i) {
        difference += std::pow(double{got[i]} - want[i], 2);
        size += double{want[i]} * want[i];
      }
      EXPECT_LT(std::sqrt(difference / size), step == WholeStep::muon ? 2e-2 : 1e-5);
    }
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
      return std::string(e.code().text());
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
  EXPECT_EQ(refused("adafactor", "momentum=0.9"), "C180");
  EXPECT_EQ(refused("muon", "momentum=0.9,adjust_lr_fn=match_rms_adamw"), "");
  EXPECT_EQ(refused("muon", "adjust_lr_fn=other"), "C180");
}

}  // namespace
}  // namespace sft
