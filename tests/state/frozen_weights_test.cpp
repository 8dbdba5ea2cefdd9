// A base that is quantised in its files is held as it is there: no value changes on the way.
#include "state/frozen_weights.h"

#include <gtest/gtest.h>

#include <cstring>

#include "formats/format.h"
#include "model/adapters.h"
#include "state/loaded_model.h"
#include "support/paths.h"

namespace sft {
namespace {

// The model with adapters on all linear layers, its base kept as the files have it.
LoadedModel with_adapters(const ModelSource& source, Device& device) {
  Model shape = Model::from_config(source.config());
  LoraConfig config;
  config.target_expression = "all-linear";
  const std::vector<AdapterTarget> targets = find_targets(shape, config);
  add_adapters(shape, targets, 0.0,
               [&](const std::string& name) { return source.stored_type(name); });
  return load_model(source, shape, device, DType::f32, DType::f32, {}, draw_adapters(targets, 1));
}

void expect_the_values_of(const ModelSource& source, int packed) {
  const auto device = Device::cpu(2);
  const LoadedModel loaded = with_adapters(source, *device);
  const std::vector<Tensor> parameters = loaded.parameters();
  for (size_t i = 0; i < loaded.model.frozen.size(); ++i) {
    const ParamSpec& spec = loaded.model.frozen[i];
    const Tensor& held = parameters[loaded.model.trained.size() + i];
    SCOPED_TRACE(spec.name);
    packed -= is_packed(held.dtype) ? 1 : 0;
    std::vector<float> values(static_cast<size_t>(spec.shape.elements())), expected;
    decode(held, values.data(), nullptr);
    for (const ParamPiece& piece : spec.pieces) {
      std::vector<float> part(static_cast<size_t>(source.shape(piece.name).elements()));
      source.read_f32(piece.name, part.data());
      expected.insert(expected.end(), part.begin(), part.end());
    }
    ASSERT_EQ(values.size(), expected.size());
    EXPECT_EQ(std::memcmp(values.data(), expected.data(), values.size() * sizeof(float)), 0);
  }
  EXPECT_EQ(packed, 0);  // so many are
}

fs::path golden(const char* name) { return fs::path(SFT_TEST_DIR) / "io/golden/quantised" / name; }

TEST(FrozenWeights, a_quantised_checkpoint_is_held_as_it_is) {
  const std::pair<const char*, int> folders[] = {{"nf4_nested", 7}, {"fp4", 7}, {"int8", 7},
                                                 {"skips", 7},      {"fp8", 6}, {"plain", 0}};
  for (const auto& [name, packed] : folders) {
    SCOPED_TRACE(name);
    expect_the_values_of(*ModelSource::open(golden(name).string(), "", {}), packed);
  }
}

// Every type of a Q8_0, Q4_0, Q4_1, K_M or K_S file, with the rows of q and k permuted.
TEST(FrozenWeights, a_gguf_file_is_held_as_it_is) {
  expect_the_values_of(*ModelSource::open(golden("mixed.gguf").string(), "", {}), 11);
}

}  // namespace
}  // namespace sft
