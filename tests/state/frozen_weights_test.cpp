// A base that is quantised in its files is held as it is there: no value changes on the way.
#include "state/frozen_weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "formats/format.h"
#include "graph/executor.h"
#include "model/adapters.h"
#include "state/loaded_model.h"
#include "support/paths.h"

namespace sft {
namespace {

// The model with adapters on all linear layers, its base kept as the files have it, or decoded.
LoadedModel with_adapters(const ModelSource& source, Device& device, bool packed) {
  Model shape = Model::from_config(source.config());
  LoraConfig config;
  config.target_expression = "all-linear";
  const AdapterPlan plan = plan_adapters(shape, config);
  add_adapters(shape, plan, config, [&](const std::string& name) -> std::optional<DType> {
    return packed ? source.stored_type(name) : std::nullopt;
  });
  AdapterStart start = AdapterStart::drawn(config, plan, 1);
  return load_model(source, shape, device, DType::f32, DType::f32, {}, &start);
}

void expect_the_values_of(const ModelSource& source, int packed) {
  const auto device = Device::cpu(2);
  const LoadedModel loaded = with_adapters(source, *device, true);
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

// The logits of a few tokens.
std::vector<float> logits_of(const LoadedModel& loaded, Device& device) {
  constexpr int64_t kTokens = 7;
  LogitsProgram recorded = record_logits(loaded.model, {kTokens, 1}, loaded.target);
  const Value logits = recorded.logits;
  Arena arena(device);
  Executor executor(device, arena, std::move(recorded.program));
  std::vector<int32_t> tokens(kTokens), positions(kTokens), starts{0, kTokens};
  for (int32_t i = 0; i < kTokens; ++i) {
    tokens[static_cast<size_t>(i)] = 3 + 5 * i;
    positions[static_cast<size_t>(i)] = i;
  }
  Bindings bindings;
  bindings.parameters = loaded.parameters();
  bindings.inputs["tokens"] = {tokens.data(), {kTokens}, DType::i32};
  bindings.inputs["positions"] = {positions.data(), {kTokens}, DType::i32};
  bindings.inputs["documents"] = {starts.data(), {2}, DType::i32};
  executor.run(bindings);
  const Tensor out = executor.tensor(logits);
  return {out.f32(), out.f32() + out.shape.elements()};
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

// A packed weight, in parts or not, computes the bits that its decoded values compute.
TEST(FrozenWeights, a_packed_base_computes_what_its_values_do) {
  for (const char* name : {"nf4_nested", "fp4", "skips", "fp8", "mixed.gguf"}) {
    SCOPED_TRACE(name);
    const auto source = ModelSource::open(golden(name).string(), "", {});
    const auto device = Device::cpu(2);
    const LoadedModel packed = with_adapters(*source, *device, true);
    const LoadedModel plain = with_adapters(*source, *device, false);
    EXPECT_FALSE(packed.model.parts.empty());
    EXPECT_TRUE(plain.model.parts.empty());
    EXPECT_EQ(logits_of(packed, *device), logits_of(plain, *device));
  }
}

// Every type of a Q8_0, Q4_0, Q4_1, K_M or K_S file, with the rows of q and k permuted.
TEST(FrozenWeights, a_gguf_file_is_held_as_it_is) {
  expect_the_values_of(*ModelSource::open(golden("mixed.gguf").string(), "", {}), 11);
}

// The bytes that a rank has of a model whose linear layers are kept in `type`.
std::vector<std::byte> held_bytes(const ModelSource& source, DType type, Device& device, bool made,
                                  FrozenWeights::OnHost on_host = FrozenWeights::OnHost::nothing,
                                  const FrozenWeights::LayBytes& lay = nullptr) {
  Model shape = Model::from_config(source.config());
  LoraConfig config;
  config.target_expression = "all-linear";
  add_adapters(shape, plan_adapters(shape, config), config, [&](const std::string& name) {
    return name.find("proj") != std::string::npos ? std::optional(type) : std::nullopt;
  });
  FrozenWeights frozen(shape, DType::f32, {}, on_host, device);
  const FrozenWeights::Bytes planned = FrozenWeights::bytes(shape, DType::f32, {}, on_host);
  EXPECT_EQ(frozen.device_size(), static_cast<size_t>(planned.device));
  EXPECT_EQ(frozen.size(), static_cast<size_t>(planned.device + planned.host));
  const FrozenWeights::ReadTensor values = [&](const std::string& name, const Shape&,
                                               ElementRange part, float* to) {
    source.read_f32(name, part, to, nullptr);
  };
  if (made) {
    frozen.make(device, values, lay);
  } else {
    frozen.read(device, values);
  }
  std::vector<std::byte> bytes;
  for (const Tensor& tensor : frozen.tensors()) {
    const size_t at = bytes.size();
    bytes.resize(at + tensor.bytes());
    device.download(bytes.data() + at, tensor.data, tensor.bytes());
  }
  return bytes;
}

// With SFT_TEST_CUDA a GPU, whose memory is not what `source` would make values in.
TEST(FrozenWeights, a_table_in_the_hosts_memory_holds_the_same_values) {
  const auto source = ModelSource::open(golden("plain").string(), "", {});
  const bool on_gpu = std::getenv("SFT_TEST_CUDA") != nullptr;
  const auto device = on_gpu ? Device::cuda(0, 2) : Device::cpu(2);
  for (const bool made : {false, !on_gpu}) {
    EXPECT_EQ(held_bytes(*source, DType::nf4, *device, made, FrozenWeights::OnHost::embeddings),
              held_bytes(*source, DType::nf4, *device, made));
  }
}

TEST(FrozenWeights, bytes_that_only_files_have_are_laid_where_they_are_held) {
  const auto source = ModelSource::open(golden("plain").string(), "", {});
  const auto device = Device::cpu(2);
  int64_t laid = 0;
  const auto bytes =
      held_bytes(*source, DType::f8_blocks, *device, true, FrozenWeights::OnHost::nothing,
                 [&](const Tensor& packed, ElementRange part, std::byte* to) {
                   EXPECT_EQ(packed.dtype, DType::f8_blocks);
                   EXPECT_EQ(part.begin, 0);
                   EXPECT_EQ(part.end, static_cast<int64_t>(packed.bytes()));
                   std::fill_n(to, packed.bytes(), std::byte{7});
                   laid += part.size();
                 });
  EXPECT_GT(laid, 0);
  EXPECT_GE(std::ranges::count(bytes, std::byte{7}), laid);
  const auto zero = held_bytes(*source, DType::f8_blocks, *device, true);
  EXPECT_GE(std::ranges::count(zero, std::byte{0}), laid);
}

TEST(FrozenWeights, values_made_on_the_device_are_packed_as_those_that_are_read) {
  const auto source = ModelSource::open(golden("plain").string(), "", {});
  const auto device = Device::cpu(2);
  for (int t = static_cast<int>(DType::nf4); t <= static_cast<int>(DType::f8_rows); ++t) {
    const auto type = static_cast<DType>(t);
    SCOPED_TRACE(name_of(type));
    const std::vector<std::byte> read = held_bytes(*source, type, *device, false);
    EXPECT_NE(read, std::vector<std::byte>(read.size()));
    EXPECT_EQ(held_bytes(*source, type, *device, true), read);
    if (std::getenv("SFT_TEST_CUDA") != nullptr) {
      const auto gpu = Device::cuda(0, 2);
      EXPECT_EQ(held_bytes(*source, type, *gpu, false), read);
    }
  }
}

}  // namespace
}  // namespace sft
