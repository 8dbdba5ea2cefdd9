// A folder whose linear layers are quantised as bitsandbytes does it.
#include "run/save_packed.h"

#include <gtest/gtest.h>

#include <cstring>

#include "io/safetensors.h"
#include "support/paths.h"
#include "support/temporary_folder.h"

namespace sft {
namespace {

const fs::path kGolden = fs::path(SFT_TEST_DIR) / "model" / "golden";

// The published tensors of a family, read as they are written.
std::vector<StreamedTensor> tensors_of(const ModelSource& source, const Model& model) {
  std::vector<StreamedTensor> out;
  for (const ParamSpec* const spec : model.parameters()) {
    for (const ParamPiece& piece : spec->pieces) {
      out.push_back({piece.name, DType::f32, spec->shape_of(piece),
                     [&source, name = piece.name, n = spec->shape_of(piece).elements()](
                         uint64_t begin, std::span<std::byte> into) {
                       std::vector<float> values(static_cast<size_t>(n));
                       source.read_f32(name, values.data());
                       std::memcpy(into.data(),
                                   reinterpret_cast<const std::byte*>(values.data()) + begin,
                                   into.size());
                     }});
    }
  }
  return out;
}

// Experts are no linear layers in transformers, so that bitsandbytes leaves them; nor are routers,
// but Gemma 4's.
TEST(SavePacked, experts_stay_as_they_are) {
  for (const auto& [family, experts, router, packed] :
       {std::tuple("gemma4_experts", "model.layers.0.experts.gate_up_proj",
                   "model.layers.0.router.proj.weight", true),
        std::tuple("qwen3_moe", "model.layers.1.mlp.experts.7.up_proj.weight",
                   "model.layers.1.mlp.gate.weight", false)}) {
    SCOPED_TRACE(family);
    const auto source = ModelSource::open((kGolden / family).string(), "", {});
    const Model model = Model::from_config(source->config());
    const TemporaryFolder out("save_packed");
    save_packed(out.path(), *source, model, tensors_of(*source, model), {.model_card = false},
                "nf4", nullptr, Logger());
    const SafetensorsFile before(kGolden / family / "model.safetensors");
    const SafetensorsFile after(out.path() / "model.safetensors");
    ASSERT_NE(after.find(experts), nullptr);
    const auto bytes = before.raw(*before.find(experts));
    EXPECT_TRUE(std::ranges::equal(bytes, after.raw(*after.find(experts))));
    EXPECT_EQ(after.find(std::string(router) + ".absmax") != nullptr, packed);
    EXPECT_NE(after.find("model.layers.0.mlp.up_proj.weight.absmax"), nullptr);
  }
}

}  // namespace
}  // namespace sft
