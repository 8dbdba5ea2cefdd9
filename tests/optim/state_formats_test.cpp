// AdamW's other formats: 8-bit blocks against bitsandbytes (tools/golden/adamw_8bit.py makes the
// file), bfloat16 with stochastic rounding, shards of a layout, and with SFT_TEST_CUDA the GPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "core/json.h"
#include "core/rng.h"
#include "formats/block8.h"
#include "formats/convert.h"
#include "optim/element.h"
#include "optim/optimizer.h"
#include "optim/optimizers.h"
#include "support/paths.h"

namespace sft {
namespace {

// As `values` in tools/golden/adamw_8bit.py.
float noise(int64_t i, int64_t salt) {
  const int64_t n = (i * 2654435761 + salt * 40503) % (int64_t{1} << 32) / 256;
  return static_cast<float>((std::ldexp(static_cast<double>(n), -24) - 0.5) *
                            std::ldexp(1.0, -static_cast<int>(i / 300 % 5)));
}

ParamSpec matrix(const std::string& name, int64_t rows, int64_t columns, int block = 0) {
  return {name, {rows, columns}, {{name, rows}}, block, ParamKind::matrix, Init::normal};
}

std::vector<uint8_t> bytes_of(const std::string& hex) {
  std::vector<uint8_t> out;
  for (size_t i = 0; i < hex.size(); i += 2) {
    out.push_back(static_cast<uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return out;
}

std::vector<std::byte> download(Device& device, const Buffer& buffer) {
  std::vector<std::byte> out(buffer.size());
  device.download(out.data(), buffer.data(), out.size());
  return out;
}

TEST(Block8, values_are_those_of_bitsandbytes) {
  const Json golden =
      read_json(std::filesystem::path(SFT_TEST_DIR) / "optim/golden/adamw_8bit.json");
  const auto books = block8::books();
  ASSERT_EQ(golden["maps"].size(), 512U);
  for (size_t i = 0; i < 512; ++i) {
    EXPECT_EQ(books[i / 256].values[i % 256], golden["maps"][i].get<float>()) << i;
  }
}

// The code by halves, as bitsandbytes searches for it.
int searched_code(const float* values, float x) {
  int at = 127, low = 0, high = 255;
  for (int half = 64; half > 0; half /= 2) {
    (x > values[at] ? low : high) = at;
    at += x > values[at] ? half : -half;
  }
  if (x > values[at]) {
    return x > (values[at] + values[high]) * 0.5F ? high : at;
  }
  return x < (values[low] + values[at]) * 0.5F ? low : at;
}

TEST(Block8, the_nearest_code_is_found) {
  const auto books = block8::books();
  const auto check = [&](float x) {
    if (x >= 0.0F) {
      ASSERT_EQ(code_of(books[1], x), searched_code(books[1].values, x)) << x;
    }
    const int code = code_of(books[0], x);
    const float value = books[0].values[code];
    ASSERT_TRUE(x > 0.0F ? value > 0.0F : x < 0.0F ? value < 0.0F : value == 0.0F) << x;
    const int searched = searched_code(books[0].values, x);
    if (books[0].values[searched] != 0.0F) {
      ASSERT_EQ(code, searched) << x;
    }
  };
  const auto both = [&](float x) {
    check(x);
    check(-x);
  };
  // Every value, what lies in the middle of two, and the numbers beside these.
  for (const block8::Book& book : books) {
    for (size_t c = 0; c < 256; ++c) {
      const float middle = c < 255 ? (book.values[c] + book.values[c + 1]) * 0.5F : 1.0F;
      for (const float x : {book.values[c], middle}) {
        both(x);
        both(std::nextafter(x, 0.0F));
        both(std::clamp(std::nextafter(x, 2.0F), -1.0F, 1.0F));
      }
    }
  }
  for (uint32_t bits = 0; bits <= 0x3f800000; bits += 997) {
    both(std::bit_cast<float>(bits));
  }
  both(1.0F);
}

TEST(Block8, follows_bitsandbytes) {
  const Json golden =
      read_json(std::filesystem::path(SFT_TEST_DIR) / "optim/golden/adamw_8bit.json");
  const std::vector<ParamSpec> specs{
      matrix("big", 16, 262), {"small", {64}, {{"small", 64}}, 1, ParamKind::norm, Init::ones}};
  const ParamLayout layout = layout_parameters(specs);
  const auto device = Device::cpu(2);
  Optimizer optimizer(*device, specs, layout,
                      {golden["betas"][0], golden["betas"][1], golden["eps"],
                       golden["weight_decay"], StateFormat::block8});
  std::vector<float> weights(static_cast<size_t>(layout.elements));
  std::vector<float> gradients(weights.size());
  const auto fill = [&](std::vector<float>& flat, int64_t salt) {
    for (size_t p = 0; p < specs.size(); ++p) {
      for (int64_t i = 0; i < specs[p].shape.elements(); ++i) {
        flat[static_cast<size_t>(layout.offsets[p] + i)] = noise(i, salt + static_cast<int64_t>(p));
      }
    }
  };
  fill(weights, 1);
  for (int64_t step = 1; step <= golden["steps"].get<int64_t>(); ++step) {
    fill(gradients, 100 * step);
    optimizer.step({weights.data(), DType::f32, gradients.data(), golden["rate"], 1.0, step});
  }
  for (size_t p = 0; p < specs.size(); ++p) {
    for (size_t i = 0; i < golden["weights"][p].size(); ++i) {
      const float want = golden["weights"][p][i].get<float>();
      const float got = weights[static_cast<size_t>(layout.offsets[p]) + i];
      ASSERT_NEAR(got, want, 2e-7) << p << ", element " << i;
    }
  }
  const std::vector<StatePart>& parts = optimizer.parts();
  ASSERT_EQ(parts.size(), 6U);
  EXPECT_EQ(parts[0].name, "exp_avg.big");
  EXPECT_EQ(parts[1].name, "exp_avg_scale.big");
  EXPECT_EQ(parts[1].shape, (Shape{17}));
  const auto check = [&](size_t codes_at, const char* codes_key, const char* scales_key) {
    const std::vector<uint8_t> codes = bytes_of(golden[codes_key].get<std::string>());
    const auto* own = reinterpret_cast<const uint8_t*>(optimizer.data(parts[codes_at]));
    ASSERT_FALSE(codes.empty());
    EXPECT_EQ(std::vector<uint8_t>(own, own + codes.size()), codes) << codes_key;
    const auto* scales = reinterpret_cast<const float*>(optimizer.data(parts[codes_at + 1]));
    for (size_t i = 0; i < golden[scales_key].size(); ++i) {
      const float want = golden[scales_key][i].get<float>();
      EXPECT_NEAR(scales[i], want, 1e-5 * want);
    }
  };
  check(0, "first_codes", "first_scales");
  check(2, "second_codes", "second_scales");
  const auto* small = reinterpret_cast<const float*>(optimizer.data(parts[4]));
  for (size_t i = 0; i < 64; ++i) {
    EXPECT_NEAR(small[i], golden["small_first"][i].get<float>(), 1e-7);
  }
}

TEST(StateLayout, counts_what_each_format_takes) {
  std::vector<ParamSpec> specs{
      matrix("model.embed_tokens.weight", 64, 128),
      matrix("w", 64, 128, 1),
      {"qkv", {48, 128}, {{"q", 32}, {"k", 16}}, 1, ParamKind::matrix, Init::normal},
      {"norm", {128}, {{"norm", 128}}, 2, ParamKind::norm, Init::ones}};
  specs[0].words = true;
  const ParamLayout layout = layout_parameters(specs);
  const int64_t n = layout.elements;
  const auto bytes = [&](const char* optim) {
    OptimOptions o;
    o.optim = optim;
    return StateLayout(specs, layout, optimizer_settings(o, 0), {0, layout.elements}).bytes();
  };
  EXPECT_EQ(bytes("adamw_torch"), 8 * n);
  EXPECT_EQ(bytes("adamw_bf16"), 4 * n);
  EXPECT_EQ(bytes("lion_32bit"), 4 * n);
  EXPECT_EQ(bytes("sgd"), 0);
  // 8 bits: w and q; the embedding, k (2,048 elements) and the norm stay in float32.
  const int64_t small = 8192 + 4096;
  EXPECT_EQ(bytes("adamw_8bit"), 2 * small + 8 * small / 256 + 8 * (n - small));
  EXPECT_EQ(bytes("lion_8bit"), small + 4 * small / 256 + 4 * (n - small));
}

// What a run of a few steps leaves, with the layout cut at `cuts` or not at all.
struct Outcome {
  std::vector<float> weights;  // as stored, widened
  std::vector<std::vector<std::byte>> states;
};

struct Plan {
  StateFormat format;
  DType weight_type = DType::f32;
  RuleName rule = RuleName::adamw;
  std::vector<int64_t> cuts{};
  bool rounds = false;  // float32 weights hold numbers of bfloat16, but for magnitudes
  ParamKind vector = ParamKind::norm;
};

OptimizerSettings settings_of(const Plan& plan) {
  OptimizerSettings s{0.9, 0.99, 1e-8, 0.1, plan.format, 7, plan.rule};
  s.momentum = 0.9;
  s.centered = true;
  s.rounds_weights = plan.rounds;
  return s;
}

std::vector<ParamSpec> mixed_specs(ParamKind vector = ParamKind::norm) {
  return {matrix("a", 40, 130),
          {"b", {300}, {{"b", 300}}, 0, vector, Init::ones},
          matrix("c", 64, 96, 1)};
}

Outcome run(Device& device, const Plan& plan) {
  const std::vector<ParamSpec> specs = mixed_specs(plan.vector);
  const ParamLayout layout = layout_parameters(specs);
  const auto n = static_cast<size_t>(layout.elements);
  const auto is_magnitude = [&](size_t i) {
    const auto at = static_cast<int64_t>(i);
    return plan.vector == ParamKind::magnitude && at >= layout.offsets[1] && at < layout.offsets[2];
  };
  const size_t width = size_of(plan.weight_type);
  std::vector<std::byte> stored(n * width);
  std::vector<float> gradients(n);
  for (size_t i = 0; i < n; ++i) {
    float w = normal(1, 0, i);
    const BFloat16 narrow = to_bfloat16(w);
    if (plan.rounds && !is_magnitude(i)) {
      w = to_float(narrow);
    }
    std::memcpy(stored.data() + i * width,
                plan.weight_type == DType::bf16 ? static_cast<const void*>(&narrow) : &w, width);
  }
  const Buffer weights = device.allocate(stored.size());
  const Buffer on_device = device.allocate(n * sizeof(float));
  device.upload(weights.data(), stored.data(), stored.size());
  std::vector<ElementRange> ranges;
  int64_t from = 0;
  for (const int64_t cut : plan.cuts) {
    ranges.push_back({from, cut});
    from = cut;
  }
  ranges.push_back({from, layout.elements});
  std::vector<std::unique_ptr<Optimizer>> optimizers;
  for (const ElementRange& r : ranges) {
    optimizers.push_back(std::make_unique<Optimizer>(device, specs, layout, settings_of(plan), r));
  }
  for (int64_t step = 1; step <= 4; ++step) {
    for (size_t i = 0; i < n; ++i) {
      gradients[i] = normal(2, static_cast<uint64_t>(step), i);
    }
    device.upload(on_device.data(), gradients.data(), n * sizeof(float));
    for (const auto& optimizer : optimizers) {
      const auto at = static_cast<size_t>(optimizer->range().begin);
      optimizer->step(
          {weights.data() + at * width, plan.weight_type, on_device.f32() + at, 1e-2, 0.5, step});
    }
  }
  device.download(stored.data(), weights.data(), stored.size());
  Outcome out;
  for (size_t i = 0; i < n; ++i) {
    if (plan.weight_type == DType::bf16) {
      BFloat16 x{};
      std::memcpy(&x, stored.data() + i * width, width);
      out.weights.push_back(to_float(x));
    } else {
      float x = 0.0F;
      std::memcpy(&x, stored.data() + i * width, width);
      out.weights.push_back(x);
    }
  }
  for (int slot = 0; slot < kMaxSlots; ++slot) {
    for (const bool scale : {false, true}) {
      std::vector<std::byte> all;
      for (const auto& optimizer : optimizers) {
        const auto part = download(device, optimizer->buffer(slot, scale));
        all.insert(all.end(), part.begin(), part.end());
      }
      out.states.push_back(all);
    }
  }
  return out;
}

const Plan kPlans[] = {{StateFormat::f32},
                       {StateFormat::bf16},
                       {StateFormat::block8},
                       {StateFormat::f32, DType::bf16},
                       {StateFormat::bf16, DType::bf16},
                       {StateFormat::block8, DType::bf16},
                       {StateFormat::f32, DType::f32, RuleName::lion},
                       {StateFormat::block8, DType::bf16, RuleName::lion},
                       {StateFormat::f32, DType::f32, RuleName::sgd},
                       {StateFormat::bf16, DType::bf16, RuleName::sgd},
                       {StateFormat::f32, DType::f32, RuleName::rmsprop},
                       {StateFormat::bf16, DType::bf16, RuleName::rmsprop},
                       {StateFormat::f32, DType::f32, RuleName::adagrad},
                       {StateFormat::f32, DType::bf16, RuleName::adagrad},
                       {StateFormat::f32, DType::f32, RuleName::adamw, {}, true}};

TEST(StateFormats, the_same_bits_for_any_cut_and_any_number_of_threads) {
  for (Plan plan : kPlans) {
    SCOPED_TRACE(info_of(plan.format).name);
    const Outcome whole = run(*Device::cpu(1), plan);
    plan.cuts = {256, 5632, 5632 + 2048};
    const Outcome cut = run(*Device::cpu(3), plan);
    EXPECT_EQ(whole.weights, cut.weights);
    EXPECT_EQ(whole.states, cut.states);
  }
}

// As TRL has adapters on a base of bitsandbytes, magnitudes in float32 beside them.
TEST(StateFormats, float32_that_holds_bfloat16_moves_as_bfloat16_and_a_magnitude_as_float32) {
  for (const StateFormat format : {StateFormat::f32, StateFormat::bf16}) {
    Plan narrow{format, DType::bf16}, wide{format, DType::f32}, held{format, DType::f32};
    narrow.vector = wide.vector = held.vector = ParamKind::magnitude;
    held.rounds = true;
    const ParamLayout layout = layout_parameters(mixed_specs(ParamKind::magnitude));
    for (const int threads : {1, 3}) {
      const auto cpu = Device::cpu(threads);
      const std::vector<float> as_narrow = run(*cpu, narrow).weights;
      const std::vector<float> as_wide = run(*cpu, wide).weights;
      const std::vector<float> got = run(*cpu, held).weights;
      for (size_t i = 0; i < got.size(); ++i) {
        const auto at = static_cast<int64_t>(i);
        const bool magnitude = at >= layout.offsets[1] && at < layout.offsets[2];
        EXPECT_EQ(got[i], magnitude ? as_wide[i] : as_narrow[i]) << i;
      }
    }
  }
}

// Formats are close to float32: no bias that grows, no moment that stands still.
TEST(StateFormats, stay_near_float32) {
  const Outcome exact = run(*Device::cpu(2), kPlans[0]);
  for (const Plan& plan : kPlans) {
    if (plan.rule != RuleName::adamw) {
      continue;
    }
    SCOPED_TRACE(info_of(plan.format).name);
    const Outcome got = run(*Device::cpu(2), plan);
    double bias = 0.0;
    for (size_t i = 0; i < exact.weights.size(); ++i) {
      // 4 steps of at most 0.01 or so, and the grain of the weights themselves.
      const double grain =
          plan.weight_type == DType::bf16 || plan.rounds ? std::abs(exact.weights[i]) / 24 : 0.0;
      ASSERT_NEAR(got.weights[i], exact.weights[i], 8e-3 + grain) << i;
      bias += got.weights[i] - exact.weights[i];
    }
    EXPECT_LT(std::abs(bias) / static_cast<double>(exact.weights.size()), 3e-4);
  }
}

TEST(StochasticRounding, is_right_on_average_and_keeps_what_is_exact) {
  const float x = 1.0F + 3.0F / 1024.0F;  // 3/8 of the way from 1 to the next bfloat16
  int up = 0;
  constexpr int kDraws = 8000;
  for (int64_t i = 0; i < kDraws; ++i) {
    const RoundingPair pair = rounding_bits(1, 5, i / 2);
    const uint16_t bits = round_stochastically(x, (i % 2 == 0 ? pair.even : pair.odd).weight);
    ASSERT_TRUE(bits == 0x3f80 || bits == 0x3f81);
    up += bits == 0x3f81 ? 1 : 0;
    EXPECT_EQ(round_stochastically(-2.0F, pair.even.state[0]), 0xc000);
  }
  EXPECT_NEAR(up / static_cast<double>(kDraws), 0.375, 0.02);
  EXPECT_EQ(round_stochastically(INFINITY, 0xffff), 0x7f80);
  EXPECT_TRUE(std::isnan(to_float(BFloat16{round_stochastically(NAN, 0xffff)})));
}

// What products read where they compute in another type than weights without masters are kept in.
TEST(StateFormats, a_copy_of_bfloat16_weights_holds_their_numbers) {
  const auto device = std::getenv("SFT_TEST_CUDA") == nullptr ? Device::cpu(2) : Device::cuda(0, 2);
  const std::vector<ParamSpec> specs = mixed_specs();
  const ParamLayout layout = layout_parameters(specs);
  const auto n = static_cast<size_t>(layout.elements);
  for (const DType type : {DType::f32, DType::f16}) {
    Optimizer optimizer(*device, specs, layout, settings_of({StateFormat::f32, DType::bf16}));
    const Buffer weights = device->allocate(n * sizeof(BFloat16));
    const Buffer gradients = device->allocate(n * sizeof(float));
    const Buffer copy = device->allocate(n * size_of(type));
    std::vector<BFloat16> stored(n);
    std::vector<float> grads(n);
    for (size_t i = 0; i < n; ++i) {
      stored[i] = to_bfloat16(normal(1, 0, i));
      grads[i] = normal(2, 0, i);
    }
    device->upload(weights.data(), stored.data(), weights.size());
    device->upload(gradients.data(), grads.data(), gradients.size());
    optimizer.step({weights.data(), DType::bf16, gradients.f32(), 1e-2, 1.0, 1, copy.data(), type});
    device->download(stored.data(), weights.data(), weights.size());
    const std::vector<std::byte> read = download(*device, copy);
    std::vector<float> copied(n);
    convert_to_f32(type, read.data(), layout.elements, copied.data());
    for (size_t i = 0; i < n; ++i) {
      const float w = to_float(stored[i]);
      EXPECT_EQ(copied[i], type == DType::f32 ? w : to_float(to_float16(w))) << i;
    }
  }
}

TEST(StateFormats, the_gpu_does_the_same) {
  if (std::getenv("SFT_TEST_CUDA") == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  const auto gpu = Device::cuda(0, 2);
  for (Plan plan : kPlans) {
    SCOPED_TRACE(info_of(plan.format).name);
    const Outcome want = run(*Device::cpu(2), plan);
    const Outcome got = run(*gpu, plan);
    const bool rounded =
        plan.format != StateFormat::f32 || plan.weight_type == DType::bf16 || plan.rounds;
    size_t far = 0;
    for (size_t i = 0; i < want.weights.size(); ++i) {
      far += std::abs(got.weights[i] - want.weights[i]) > 2e-6 ? 1 : 0;
    }
    // A last bit of float32 that differs moves a rounding now and then.
    EXPECT_LE(far, rounded ? want.weights.size() / 100 : 0);
    const Outcome again = run(*gpu, plan);
    EXPECT_EQ(got.weights, again.weights);
    EXPECT_EQ(got.states, again.states);
    plan.cuts = {256, 5632};
    const Outcome cut = run(*gpu, plan);
    EXPECT_EQ(got.weights, cut.weights);
    EXPECT_EQ(got.states, cut.states);
  }
}

TEST(Optimizers, names) {
  EXPECT_EQ(find_optimizer("adamw_bnb_8bit")->format, StateFormat::block8);
  EXPECT_EQ(find_optimizer("adamw_bf16")->format, StateFormat::bf16);
  EXPECT_EQ(find_optimizer("lomo"), nullptr);
}

}  // namespace
}  // namespace sft
