// Models with a tower that sees pictures (tools/golden/whole_models.py): their text part is the
// model, and what stands beside it is carried.
#include "io/text_part.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <regex>
#include <set>

#include "io/joined_experts.h"
#include "io/model_saver.h"
#include "io/model_source.h"
#include "io/safetensors.h"
#include "support/errors.h"
#include "support/paths.h"
#include "support/temporary_folder.h"
#include "support/tiny_run.h"

namespace sft::testing {
namespace {

const fs::path kGolden = fs::path(SFT_TEST_DIR) / "io" / "golden";

class Wholes : public ::testing::TestWithParam<const char*> {
 protected:
  fs::path folder = kGolden / GetParam();
  std::unique_ptr<ModelSource> source = ModelSource::open(folder.string(), "", {});
  TinyRun run{Model::from_config(source->config()),
              [&](const std::string& name, const Tensor& into) {
                source->read_f32(name, Tensor(into).f32());
              }};

  // With what is never trained.
  std::vector<StreamedTensor> weights() {
    std::vector<NamedTensor> all =
        named_tensors(run.model.trained, run.model.layout, run.weights.f32());
    for (size_t i = 0; i < run.model.frozen.size(); ++i) {
      const ParamSpec& spec = run.model.frozen[i];
      all.push_back({spec.name, {run.frozen[i].data(), spec.shape, DType::f32}});
    }
    return streamed(all);
  }
};

TEST_P(Wholes, the_text_part_computes_what_the_whole_does_without_pictures) {
  const Json expected = read_json(folder / "expected.json");
  const auto ids = expected["input_ids"].get<std::vector<int32_t>>();
  run.set_documents({{ids, std::vector<int32_t>(ids.size(), -100)}});
  const std::vector<float> logits = run.logits();
  for (size_t r = 0; r < expected["rows"].size(); ++r) {
    for (size_t c = 0; c < expected["cols"].size(); ++c) {
      const int64_t at = expected["rows"][r].get<int64_t>() * run.model.config.vocab +
                         expected["cols"][c].get<int64_t>();
      EXPECT_NEAR(logits[static_cast<size_t>(at)], expected["values"][r][c].get<float>(), 2e-5);
    }
  }
}

TEST_P(Wholes, have_the_tensors_of_a_text_model) {
  std::set<std::string> wanted;
  for (const ParamSpec* const spec : run.model.parameters()) {
    for (const ParamPiece& piece : spec->pieces) {
      const auto place = expert_place(piece.name);
      wanted.insert(place && source->has(place->tensor) ? place->tensor : piece.name);
      EXPECT_EQ(source->shape(piece.name), spec->shape_of(piece));
    }
  }
  EXPECT_EQ(std::set<std::string>(source->names().begin(), source->names().end()), wanted);
}

TEST_P(Wholes, are_saved_with_what_stands_beside_the_text_part_byte_for_byte) {
  const TemporaryFolder out("text_part");
  for (int64_t i = 0; i < run.model.layout.elements; ++i) {
    run.weights.f32()[i] += 1.0F;
  }
  const std::vector<StreamedTensor> trained = weights();
  const SaveOptions options{.model_card = false};
  save_model(out.path(), *source, trained, options);
  const SafetensorsFile before(folder / "model.safetensors");
  const SafetensorsFile after(out.path() / "model.safetensors");
  size_t carried = 0;
  ASSERT_EQ(after.tensors().size(), before.tensors().size());
  for (const StoredTensor& t : before.tensors()) {
    SCOPED_TRACE(t.name);
    const StoredTensor* const saved = after.find(t.name);
    ASSERT_NE(saved, nullptr);
    EXPECT_EQ(saved->shape, t.shape);
    if (TextNames::text(t.name).empty()) {
      ++carried;
      EXPECT_EQ(saved->dtype, t.dtype);
      ASSERT_EQ(after.raw(*saved).size(), before.raw(t).size());
      EXPECT_EQ(0,
                std::memcmp(after.raw(*saved).data(), before.raw(t).data(), before.raw(t).size()));
    } else {
      std::vector<float> a(static_cast<size_t>(t.elements())), b(a.size());
      before.read_f32(t, a.data());
      after.read_f32(*saved, b.data());
      const bool trained_one = std::ranges::none_of(
          run.model.frozen, [&](const ParamSpec& s) { return s.name == TextNames::text(t.name); });
      EXPECT_EQ(a[0] + (trained_one ? 1.0F : 0.0F), b[0]);
    }
  }
  EXPECT_GT(carried, 5U);
}

TEST_P(Wholes, keep_the_shape_of_config_json) {
  const TemporaryFolder out("text_part");
  const std::vector<StreamedTensor> same = weights();
  save_model(out.path(), *source, same, SaveOptions{.dtype = DType::bf16, .model_card = false});
  const Json before = read_json(folder / "config.json");
  const Json after = read_json(out.path() / "config.json");
  EXPECT_EQ(after["architectures"], before["architectures"]);
  EXPECT_EQ(after["vision_config"], before["vision_config"]);
  EXPECT_EQ(after["dtype"], "bfloat16");
  EXPECT_FALSE(after.contains("vocab_size"));
  for (const auto& [key, value] : before["text_config"].items()) {
    EXPECT_EQ(after["text_config"][key], value) << key;
  }
  std::vector<std::string> names = ModelSource::open(out.path().string(), "", {})->names();
  std::vector<std::string> wanted = source->names();
  std::ranges::sort(names);
  std::ranges::sort(wanted);
  EXPECT_EQ(names, wanted);
}

TEST_P(Wholes, give_adapters_to_the_text_part_alone) {
  const TemporaryFolder out("text_part");
  save_adapter(out.path(), *source, Json::object(), {}, SaveOptions{.model_card = false});
  const Json config = read_json(out.path() / "adapter_config.json");
  const std::regex left_out(config["exclude_modules"].get<std::string>());
  const SafetensorsFile file(folder / "model.safetensors");
  for (const StoredTensor& t : file.tensors()) {
    const bool beside = TextNames::text(t.name).empty();
    EXPECT_EQ(std::regex_match(t.name, left_out), beside) << t.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, Wholes,
                         ::testing::Values("gemma3_whole", "gemma3_whole_new", "mistral3_whole",
                                           "mistral3_whole_new", "qwen3_5_whole_new",
                                           "qwen3_5_moe_whole_new", "gemma4_whole_new",
                                           "gemma4_experts_whole_new"));

TEST(TextPart, names_go_there_and_back) {
  for (const bool outside : {false, true}) {
    const TextNames names(outside);
    for (const char* name : {"model.layers.3.mlp.down_proj.weight", "lm_head.weight"}) {
      EXPECT_EQ(TextNames::text(names.stored(name)), name);
    }
  }
  EXPECT_EQ(TextNames::text("vision_tower.patch_conv.weight"), "");
  EXPECT_EQ(TextNames::text("model.multi_modal_projector.norm.weight"), "");
  const std::string name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
  EXPECT_EQ(adapter_name_in_whole(name),
            "base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight");
  EXPECT_EQ(adapter_name_in_part(adapter_name_in_whole(name)), name);
}

TEST(TextPart, of_a_larger_model_that_is_not_known_is_refused_by_name) {
  const Json config = {{"architectures", {"LlavaForConditionalGeneration"}},
                       {"model_type", "llava"},
                       {"text_config", {{"model_type", "llama"}}}};
  try {
    text_part(config);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), "M031");
    EXPECT_NE(e.message().find("LlavaForConditionalGeneration"), std::string::npos);
    EXPECT_NE(e.hint().find("Gemma3ForConditionalGeneration"), std::string::npos);
  }
}

}  // namespace
}  // namespace sft::testing
