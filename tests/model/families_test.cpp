// Every family against transformers: logits, loss and the gradient of every parameter of a tiny
// model (tools/golden/families.py makes the files), and what must not change them.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <span>

#include "core/error.h"
#include "model/generation.h"
#include "ops/linear_cross_entropy.h"
#include "support/paths.h"
#include "support/tiny_run.h"

namespace sft::testing {
namespace {

const std::filesystem::path kGolden = std::filesystem::path(SFT_TEST_DIR) / "model" / "golden";

std::vector<std::string> folders() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kGolden)) {
    names.push_back(entry.path().filename());
  }
  std::ranges::sort(names);
  return names;
}

std::vector<Document> documents(const Json& expected) {
  std::vector<Document> out;
  for (const Json& d : expected["documents"]) {
    out.push_back(
        {d["input_ids"].get<std::vector<int32_t>>(), d["labels"].get<std::vector<int32_t>>()});
  }
  return out;
}

class Families : public ::testing::TestWithParam<std::string> {
 protected:
  Families()
      : expected(read_json(kGolden / GetParam() / "expected.json")), run(kGolden / GetParam()) {
    run.set_documents(documents(expected));
  }
  Json expected;
  TinyRun run;
};

// `logits` (tokens, vocab), `e` an entry of expected.json for the document that starts at `start`.
void compare_logits(const std::vector<float>& logits, int64_t vocab, int64_t start, const Json& e) {
  for (size_t r = 0; r < e["rows"].size(); ++r) {
    const int64_t row = start + e["rows"][r].get<int64_t>();
    for (size_t c = 0; c < e["cols"].size(); ++c) {
      const float got = logits[static_cast<size_t>(row * vocab + e["cols"][c].get<int64_t>())];
      ASSERT_NEAR(got, e["values"][r][c].get<float>(), 2e-5) << "row " << r << " column " << c;
    }
  }
}

// Layer by layer, so that a fault shows at the first wrong one.
TEST_P(Families, logits_of_the_first_layers_alone) {
  const int64_t layers = run.model.config.layers;
  ASSERT_EQ(static_cast<int64_t>(expected["first_layers"].size()), layers - 1);
  for (int k = 1; k < layers; ++k) {
    SCOPED_TRACE(fmt::format("{} of {} layers", k, layers));
    TinyRun shorter(kGolden / GetParam(), 2, k);
    shorter.set_documents({documents(expected)[0]});
    compare_logits(shorter.logits(), run.model.config.vocab, 0,
                   expected["first_layers"][static_cast<size_t>(k - 1)]);
  }
}

TEST_P(Families, logits) {
  const std::vector<float> logits = run.logits();
  int64_t start = 0;
  for (size_t d = 0; d < expected["logits"].size(); ++d) {
    SCOPED_TRACE(fmt::format("document {}", d));
    compare_logits(logits, run.model.config.vocab, start, expected["logits"][d]);
    start += static_cast<int64_t>(expected["documents"][d]["input_ids"].size());
  }
}

TEST_P(Families, loss_and_gradients) {
  const LossStats stats = run.train();
  EXPECT_EQ(stats.tokens, expected["targets"].get<float>());
  EXPECT_NEAR(stats.loss / stats.tokens, expected["loss"].get<float>(), 5e-6);
  const auto gradients = named_tensors(run.model.trained, run.model.layout, run.gradients.f32());
  EXPECT_EQ(gradients.size(), expected["gradients"].size());
  for (const NamedTensor& g : gradients) {
    ASSERT_TRUE(expected["gradients"].contains(g.name)) << g.name;
    const Json& e = expected["gradients"][g.name];
    double sum = 0, square = 0;
    for (int64_t i = 0; i < g.tensor.shape.elements(); ++i) {
      const double x = g.tensor.f32()[i];
      sum += x;
      square += x * x;
    }
    const double norm = std::sqrt(e["square"].get<double>());
    EXPECT_NEAR(square, e["square"].get<double>(), 1e-4 * norm * norm + 1e-10) << g.name;
    EXPECT_NEAR(sum, e["sum"].get<double>(), 1e-4 * norm * 8 + 1e-6) << g.name;
    for (size_t i = 0; i < e["first"].size(); ++i) {
      EXPECT_NEAR(g.tensor.f32()[i], e["first"][i].get<float>(), 1e-4 * norm + 1e-7) << g.name;
    }
  }
}

TEST_P(Families, recompute_changes_no_bit_and_saves_memory) {
  const LossStats plain = run.train(LossType::nll, Recompute::none);
  const std::vector<float> expected_gradients(run.gradients.f32(),
                                              run.gradients.f32() + run.model.layout.elements);
  int64_t bytes = run.arena_bytes;
  for (const MemoryPolicy memory :
       {MemoryPolicy(Recompute::norms), MemoryPolicy(Recompute::mlp),
        MemoryPolicy(Recompute::block), MemoryPolicy(Recompute::block, true)}) {
    SCOPED_TRACE(::testing::Message() << name_of(memory.recompute) << memory.offload);
    const LossStats recomputed = run.train(LossType::nll, memory);
    EXPECT_EQ(plain.loss, recomputed.loss);
    EXPECT_EQ(0, std::memcmp(expected_gradients.data(), run.gradients.data(),
                             expected_gradients.size() * sizeof(float)));
    EXPECT_LE(run.arena_bytes, bytes) << name_of(memory.recompute);
    bytes = run.arena_bytes;
  }
}

TEST_P(Families, padding_and_accumulation_change_nothing) {
  run.train();
  const int64_t n = run.model.layout.elements;
  const std::vector<float> whole(run.gradients.f32(), run.gradients.f32() + n);
  const auto all = documents(expected);
  const float scale = run.scale;
  bool first = true;
  for (const Document& d : all) {
    run.set_documents({d}, 48);
    run.scale = scale;
    run.train(LossType::nll, Recompute::none, first);
    first = false;
  }
  double error = 0, norm = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double x = whole[static_cast<size_t>(i)];
    error += (x - run.gradients.f32()[i]) * (x - run.gradients.f32()[i]);
    norm += x * x;
  }
  EXPECT_LT(std::sqrt(error), 2e-6 * std::sqrt(norm));
}

// Labels of the second half of each document, and none at all in one of them.
TEST_P(Families, rows_without_a_label_need_only_keys_and_values_in_the_last_block) {
  auto sparse = documents(expected);
  for (size_t d = 0; d < sparse.size(); ++d) {
    const size_t from = d == 1 ? sparse[d].labels.size() : sparse[d].labels.size() / 2;
    std::fill_n(sparse[d].labels.begin(), from, -100);
  }
  const int64_t n = run.model.layout.elements;
  const auto gradients = [&] {
    return std::vector<float>(run.gradients.f32(), run.gradients.f32() + n);
  };
  const int64_t trained = run.set_documents(sparse, 96);
  ASSERT_GT(trained, 2);
  ASSERT_LT(trained, 70);
  for (const LossType type : {LossType::nll, LossType::dft}) {
    run.set_documents(sparse, 96);
    const LossStats whole = run.train(type);
    const std::vector<float> want = gradients();
    for (const int64_t count : {trained, trained + 1, trained + 9}) {
      run.drop_untrained(count);
      std::vector<float> plain;
      for (const MemoryPolicy memory :
           {MemoryPolicy(), MemoryPolicy(Recompute::norms), MemoryPolicy(Recompute::mlp),
            MemoryPolicy(Recompute::block), MemoryPolicy(Recompute::block, true)}) {
        SCOPED_TRACE(
            fmt::format("{} rows, {}, {}", count, name_of(memory.recompute), memory.offload));
        const LossStats stats = run.train(type, memory);
        EXPECT_NEAR(stats.loss, whole.loss, 2e-6 * std::abs(whole.loss));
        EXPECT_EQ(stats.correct, whole.correct);
        EXPECT_NEAR(stats.entropy, whole.entropy, 2e-6 * std::abs(whole.entropy));
        EXPECT_EQ(stats.tokens, whole.tokens);
        if (plain.empty()) {
          plain = gradients();
        }
        EXPECT_EQ(plain, gradients());
      }
      for (size_t i = 0; i < run.model.trained.size(); ++i) {
        const std::string& name = run.model.trained[i].name;
        const auto at = static_cast<size_t>(run.model.layout.offsets[i]);
        const auto size = static_cast<size_t>(run.model.trained[i].shape.elements());
        const std::span<const float> a(want.data() + at, size), b(plain.data() + at, size);
        const float most =
            std::abs(*std::ranges::max_element(a, {}, [](float x) { return std::abs(x); }));
        for (size_t k = 0; k < size; ++k) {
          // Products of another height may add in another order.
          ASSERT_NEAR(a[k], b[k], 1e-5 * most) << name;
        }
      }
    }
  }
}

TEST_P(Families, nothing_trained_gives_gradients_of_zero) {
  auto none = documents(expected);
  for (Document& d : none) {
    std::ranges::fill(d.labels, -100);
  }
  run.set_documents(none);
  run.drop_untrained(16);
  EXPECT_EQ(run.train().tokens, 0.0F);
  for (int64_t i = 0; i < run.model.layout.elements; ++i) {
    ASSERT_EQ(run.gradients.f32()[i], 0.0F) << i;
  }
}

TEST_P(Families, generation_with_a_cache_gives_the_same_logits) {
  for (const Document& document : documents(expected)) {
    run.set_documents({document});
    const std::vector<float> logits = run.logits();
    const int64_t vocab = run.model.config.vocab;
    const auto n = static_cast<int64_t>(document.ids.size());
    std::vector<Buffer> caches;
    for (const auto& layer : cache_specs(run.model.config, {n, 1}, DType::f32)) {
      for (const CacheSpec& spec : layer) {
        caches.emplace_back(bytes_of(spec.dtype, spec.shape));
        std::memset(caches.back().data(), 0xFF, caches.back().size());  // NaN
        run.bindings.inputs[spec.name] = {caches.back().data(), spec.shape, spec.dtype};
      }
    }
    int32_t lane = 0;
    run.bindings.inputs["lanes"] = {&lane, {1}, DType::i32};
    // The first half at once, then token by token.
    for (int64_t past = 0; past < n;) {
      const int64_t count = past == 0 ? n / 2 : 1;
      std::array<int32_t, 2> place{0, static_cast<int32_t>(past)};
      auto last = static_cast<int32_t>(count - 1);
      run.bindings.inputs["tokens"] = {run.tokens.data() + past, {count}, DType::i32};
      run.bindings.inputs["positions"] = {run.positions.data() + past, {count}, DType::i32};
      run.bindings.inputs["past"] = {place.data(), {1, 2}, DType::i32};
      run.bindings.inputs["row"] = {&last, {1}, DType::i32};
      auto recorded = record_generation(run.model, count, n);
      Executor executor(*run.device, run.arena, std::move(recorded.program));
      executor.run(run.bindings);
      past += count;
      for (int64_t c = 0; c < vocab; ++c) {
        ASSERT_NEAR(executor.tensor(recorded.logits).f32()[c],
                    logits[static_cast<size_t>((past - 1) * vocab + c)], 1e-4);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, Families, ::testing::ValuesIn(folders()),
                         [](const auto& tested) { return tested.param; });

// Of tools/golden/published_shapes.py: FNV-1a of the lines "NAME [SIZES]" in the order of names.
uint64_t hash_of(const std::map<std::string, Shape>& tensors) {
  uint64_t hash = 0xcbf29ce484222325U;
  for (const auto& [name, shape] : tensors) {
    for (const char c : fmt::format("{} [{}]\n", name, fmt::join(shape.dims(), ", "))) {
      hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
    }
  }
  return hash;
}

TEST(PublishedModels, have_the_tensors_that_transformers_gives_them) {
  const Json published = read_json(kGolden.parent_path() / "published.json");
  std::set<std::string_view> seen;
  for (const auto& [name, want] : published.items()) {
    SCOPED_TRACE(name);
    const Model model = Model::from_config(want["config"]);
    seen.insert(model.family->model_type);
    std::map<std::string, Shape> tensors;
    for (const ParamSpec* const spec : model.parameters()) {
      for (const ParamPiece& piece : spec->pieces) {
        tensors.emplace(piece.name, spec->shape_of(piece));
      }
    }
    EXPECT_EQ(model.values(), want["parameters"].get<int64_t>());
    EXPECT_EQ(tensors.size(), want["tensors"].get<size_t>());
    EXPECT_EQ(fmt::format("{:016x}", hash_of(tensors)), want["hash"].get<std::string>());
  }
  for (const Family& family : all_families()) {
    EXPECT_TRUE(seen.contains(family.model_type)) << family.model_type;
  }
}

TEST(FindFamily, one_rope_of_two_is_not_enough) {
  Json config = read_json(kGolden / "gemma3" / "config.json");
  config["rope_parameters"] = {{"full_attention", {{"rope_theta", 1e6}}}};
  try {
    Model::from_config(config);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), "M034");
    EXPECT_NE(e.message().find("sliding_attention"), std::string::npos);
  }
}

TEST(FindFamily, a_field_of_the_wrong_kind_is_an_error_of_ours) {
  const Json whole = read_json(kGolden / "gemma3" / "config.json");
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{
           {"architectures", 5}, {"attention_bias", "no"}, {"sliding_window_pattern", 0}}) {
    Json config = whole;
    config[key] = value;
    if (std::string_view(key) == "architectures") {
      config["model_type"] = 336;
    }
    config.erase("layer_types");
    try {
      Model::from_config(config);
      FAIL() << key;
    } catch (const Error& e) {
      EXPECT_EQ(e.code().text(), "M034") << key;
    }
  }
}

TEST(FindFamily, sizes_that_no_model_has_are_refused_before_anything_is_made) {
  const Json whole = read_json(kGolden / "gemma3" / "config.json");
  for (const auto& [key, value] :
       std::vector<std::pair<const char*, Json>>{{"num_hidden_layers", 1000000},
                                                 {"head_dim", 2147483646},
                                                 {"hidden_size", int64_t{1} << 40},
                                                 {"num_key_value_heads", 4294967297},
                                                 {"vocab_size", -1},
                                                 {"num_attention_heads", 0}}) {
    Json config = whole;
    config[key] = value;
    config.erase("layer_types");
    try {
      Model::from_config(config);
      FAIL() << key;
    } catch (const Error& e) {
      EXPECT_EQ(e.code().text(), "M034") << key;
      EXPECT_NE(e.message().find(key), std::string::npos) << e.message();
    }
  }
}

TEST(FindFamily, what_a_family_does_not_support_is_refused_by_name) {
  struct Case {
    const char* folder;
    const char* field;
    Json value;
    const char* code;
    std::string named;
  };
  for (const Case& c :
       {Case{"qwen3_5", "attn_output_gate", false, "M033", "attn_output_gate"},
        Case{"qwen3_5", "hidden_act", "relu", "M033", "relu"},
        Case{"qwen3_5", "linear_num_value_heads", 3, "M034", "linear_num_value_heads"},
        Case{"qwen3_5", "linear_key_head_dim", 256, "M034", "linear_key_head_dim"},
        Case{"qwen3_5", "linear_conv_kernel_dim", 7, "M034", "linear_conv_kernel_dim"},
        Case{"qwen3_next", "attn_output_gate", false, "M033", "attn_output_gate"},
        Case{"qwen3_next", "mlp_only_layers", {"first"}, "M034", "mlp_only_layers"},
        Case{"qwen3_next", "shared_expert_intermediate_size", 0, "M034", "shared_expert_intermed"},
        Case{"qwen3_5_moe", "num_experts_per_tok", 9, "M034", "num_experts_per_tok"},
        Case{"gemma4", "enable_moe_block", true, "M034", "top_k_experts"},
        Case{"gemma4_experts", "top_k_experts", 9, "M034", "top_k_experts"},
        Case{"gemma4_experts", "moe_intermediate_size", nullptr, "M034", "moe_intermediate_size"},
        Case{"gemma4", "vocab_size_per_layer_input", 127, "M034", "vocab_size_per_layer_input"},
        Case{"gemma4", "use_bidirectional_attention", "all", "M033", "use_bidirectional_attention"},
        Case{"gemma4", "num_kv_shared_layers", 4, "M034", "num_kv_shared_layers"},
        Case{"gemma4", "num_kv_shared_layers", 5, "M034", "num_kv_shared_layers"},
        Case{"gemma4",
             "per_layer_config",
             {{"1", {{"sliding_window", 4}}}},
             "M033",
             "sliding_window"},
        Case{"gemma4", "per_layer_config", {{"5", {{"head_dim", 16}}}}, "M034", "per_layer_config"},
        Case{"gemma4", "per_layer_config", {{"1", {{"head_dim", 16}}}}, "M034", "layer 4"},
        Case{"gemma4_published", "global_head_dim", 7, "M034", "key heads of 7"},
        Case{"gemma4_keys", "num_global_key_value_heads", 3, "M034", "3 key heads"},
        Case{"lfm2", "conv_L_cache", 1, "M034", "conv_L_cache"},
        Case{"lfm2_adjusted", "block_multiple_of", 0, "M034", "block_multiple_of"},
        Case{"lfm2", "layer_types", {"conv", "full_attention", "mamba"}, "M033", "mamba"}}) {
    SCOPED_TRACE(c.field);
    Json config = read_json(kGolden / c.folder / "config.json");
    config[c.field] = c.value;
    try {
      Model::from_config(config);
      FAIL();
    } catch (const Error& e) {
      EXPECT_EQ(e.code().text(), c.code) << e.message();
      EXPECT_NE(e.message().find(c.named), std::string::npos) << e.message();
    }
  }
}

TEST(FindFamily, names_what_it_does_not_support) {
  try {
    find_family(Json{{"architectures", {"PhiForCausalLM"}}, {"model_type", "phi"}});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), "M031");
    EXPECT_NE(e.message().find("PhiForCausalLM"), std::string::npos);
    EXPECT_NE(e.hint().find("Qwen2ForCausalLM"), std::string::npos);
    EXPECT_NE(e.hint().find("the nearest by name is phi3"), std::string::npos) << e.hint();
    EXPECT_NE(e.hint().find("docs/how-to/family.md"), std::string::npos);
  }
}

}  // namespace
}  // namespace sft::testing
