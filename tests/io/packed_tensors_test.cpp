// Weights that are quantised in their files: tools/golden/quantised_models.py makes these folders.
#include "io/packed_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "core/json.h"
#include "formats/format.h"
#include "io/packed_writer.h"
#include "io/support.h"

namespace sft {
namespace {

std::string raw_checksum(const std::vector<float>& values) {
  uint64_t h = 0xCBF29CE484222325U;
  const auto* const bytes = reinterpret_cast<const uint8_t*>(values.data());
  for (size_t i = 0; i < values.size() * sizeof(float); ++i) {
    h = (h ^ bytes[i]) * 0x100000001B3U;
  }
  return fmt::format("{:016x}", h);
}

// bitsandbytes' loops differ in a zero's sign.
std::string checksum(std::vector<float> values) {
  for (float& x : values) {
    x += 0.0F;
  }
  return raw_checksum(values);
}

struct Packed {
  std::vector<std::byte> memory;
  Tensor tensor;
  Packed(DType type, const Shape& shape)
      : memory(bytes_of(type, shape)), tensor{memory.data(), shape, type} {}
};

std::vector<float> decoded(const Tensor& packed) {
  std::vector<float> values(static_cast<size_t>(packed.shape.elements()));
  decode(packed, values.data(), nullptr);
  return values;
}

struct Folder {
  const char* name;
  DType type;
  const char* plain;  // the end of a layer's name that is not packed
};
constexpr Folder kFolders[] = {{"nf4_nested", DType::nf4_nested, "lm_head"},
                               {"fp4", DType::fp4, "lm_head"},
                               {"int8", DType::i8_rows, "lm_head"},
                               {"skips", DType::nf4, "v_proj"},
                               {"fp8", DType::f8_blocks, "k_proj"}};

TEST(PackedTensors, values_are_those_of_bitsandbytes_and_of_torch) {
  for (const Folder& f : kFolders) {
    const auto source = open_model(golden("quantised") / f.name);
    const Json expected = read_json(golden("quantised") / f.name / "values.json");
    EXPECT_EQ(source->names().size(), expected.size()) << f.name;
    for (const auto& [name, sum] : expected.items()) {
      SCOPED_TRACE(fmt::format("{} {}", f.name, name));
      EXPECT_EQ(checksum(read_all(*source, name)), sum.get<std::string>());
      const std::optional<DType> stored = source->stored_type(name);
      const bool linear = name.find("proj") != std::string::npos || name == "lm_head.weight";
      const bool plain = name == std::string(f.plain) + ".weight" ||
                         name.ends_with(fmt::format(".{}.weight", f.plain)) ||
                         (name == "lm_head.weight" && std::string_view(f.name) != "skips");
      EXPECT_EQ(stored, linear && !plain ? std::optional(f.type) : std::nullopt);
      if (stored) {
        Packed packed(*stored, source->shape(name));
        ASSERT_TRUE(source->read_packed(name, packed.tensor));
        EXPECT_EQ(checksum(decoded(packed.tensor)), sum.get<std::string>());
      }
    }
  }
}

// tools/golden/quantised_mxfp4.py makes the folder.
TEST(PackedTensors, experts_in_mxfp4_are_what_transformers_widens_them_to) {
  const auto source = open_model(golden("quantised") / "mxfp4");
  const Json expected = read_json(golden("quantised") / "mxfp4" / "values.json");
  EXPECT_EQ(source->names().size(), expected.size());
  EXPECT_EQ(source->quantisation(), "MXFP4");
  EXPECT_EQ(source->stored_dtype(), DType::bf16);
  int packed_tensors = 0;
  for (const auto& [name, sum] : expected.items()) {
    SCOPED_TRACE(name);
    const std::vector<float> values = read_all(*source, name);
    EXPECT_EQ(checksum(values), sum.get<std::string>());
    const bool experts = name.find(".experts.") != std::string::npos && name.ends_with("_proj");
    ASSERT_EQ(source->stored_type(name), experts ? std::optional(DType::mxfp4) : std::nullopt);
    if (experts) {
      Packed packed(DType::mxfp4, source->shape(name));
      ASSERT_TRUE(source->read_packed(name, packed.tensor));
      EXPECT_EQ(decoded(packed.tensor), values);
      std::vector<float> some(77);
      source->read_f32(name, {5000, 5077}, some.data());
      EXPECT_TRUE(std::ranges::equal(some, std::span(values).subspan(5000, 77)));
      ++packed_tensors;
    }
  }
  EXPECT_EQ(packed_tensors, 2);
}

TEST(PackedTensors, mxfp4_of_another_layout_is_named) {
  const TemporaryFolder folder;
  const fs::path whole = golden("quantised") / "mxfp4";
  put(folder / "m/config.json", read_text(whole / "config.json"));
  const auto with = [&](const std::string& from, const std::string& to) {
    const std::string bytes = read_text(whole / "model.safetensors");
    put(folder / "m/model.safetensors", replace_first(bytes, from, to));
    return words_of([&] { open_model(folder / "m"); });
  };
  // down_proj's codes, of another shape than its exponents, and of other blocks.
  EXPECT_NE(with("[3,64,3,16]", "[3,32,6,16]").find("down_proj_scales"), std::string::npos);
  EXPECT_NE(with("[3,64,3,16]", "[3,64,6, 8]").find("down_proj_blocks"), std::string::npos);
}

TEST(PackedTensors, parts_are_the_same_values) {
  for (const Folder& f : kFolders) {
    const auto source = open_model(golden("quantised") / f.name);
    const std::string name = "model.layers.0.mlp.down_proj.weight";
    const std::vector<float> all = read_all(*source, name);
    for (const ElementRange part : {ElementRange{0, 1}, {31, 4097}, {9000, 9600}}) {
      std::vector<float> some(static_cast<size_t>(part.size()));
      source->read_f32(name, part, some.data());
      EXPECT_TRUE(
          std::ranges::equal(some, std::span(all).subspan(static_cast<size_t>(part.begin),
                                                          static_cast<size_t>(part.size()))))
          << f.name << part.begin;
    }
  }
}

// What is quantised here is what bitsandbytes makes of the same weights.
TEST(PackedTensors, codes_and_scales_are_those_of_bitsandbytes) {
  const auto plain = open_model(golden("quantised") / "plain");
  for (const Folder& f : {kFolders[0], kFolders[1], kFolders[2], kFolders[3]}) {
    const auto source = open_model(golden("quantised") / f.name);
    int compared = 0;
    for (const std::string& name : source->names()) {
      if (!source->stored_type(name)) {
        continue;
      }
      SCOPED_TRACE(fmt::format("{} {}", f.name, name));
      Packed theirs(f.type, source->shape(name)), ours(f.type, source->shape(name));
      source->read_packed(name, theirs.tensor);
      encode(read_all(*plain, name).data(), ours.tensor);
      // bitsandbytes' loops for CPUs find codes of scales in a table that is too coarse beside a
      // middle (tests/formats/packed_test.cpp compares them): here the codes of values.
      const size_t compared_bytes =
          f.type == DType::nf4_nested ? scales_at(f.type, ours.tensor.shape) : ours.memory.size();
      EXPECT_EQ(std::memcmp(ours.memory.data(), theirs.memory.data(), compared_bytes), 0);
      ++compared;
    }
    EXPECT_GE(compared, 4);
  }
}

// tools/golden/quantised_gguf.py makes the file.
TEST(PackedTensors, blocks_of_a_gguf_file_decode_as_ggml_decodes_them) {
  const auto source = open_model(golden("quantised") / "mixed.gguf");
  const Json expected = read_json(golden("quantised") / "mixed.json");
  for (const auto& [name, wanted] : expected.items()) {
    SCOPED_TRACE(name);
    const auto type = wanted[0].get<std::string>();
    EXPECT_EQ(raw_checksum(read_all(*source, name)), wanted[1].get<std::string>());
    const std::optional<DType> stored = source->stored_type(name);
    if (type == "F32" || name == "lm_head.weight") {
      EXPECT_FALSE(stored);
      continue;
    }
    ASSERT_TRUE(stored);
    Packed packed(*stored, source->shape(name));
    ASSERT_TRUE(source->read_packed(name, packed.tensor));
    EXPECT_EQ(raw_checksum(decoded(packed.tensor)), wanted[1].get<std::string>());
  }
}

// What is written quantised is read as it was written, and is what transformers saves: the names of
// bitsandbytes' own file.
TEST(PackedTensors, quantised_weights_are_written_as_they_are_read) {
  const auto source = open_model(golden("quantised") / "plain");
  Weights plain(*source);
  const TemporaryFolder folder;
  for (const Folder& f : {kFolders[0], kFolders[1], kFolders[2]}) {
    SCOPED_TRACE(f.name);
    BnbConfig config;
    config.type = f.type;
    config.storage = f.type == DType::fp4 ? "bfloat16" : "uint8";
    std::vector<StreamedTensor> tensors = streamed(plain.tensors);
    const auto packs = [&](const std::string& name) {
      return name.find("proj") != std::string::npos;
    };
    const PackedWeights packed =
        packed_weights(std::move(tensors), config, DType::bf16, packs, *source, nullptr);
    fs::create_directories(folder.path() / f.name);
    write_safetensors(folder.path() / f.name / "model.safetensors", packed.tensors, DType::bf16);
    Json written = source->config();
    written["quantization_config"] = config.to_json("bfloat16");
    put(folder.path() / f.name / "config.json", to_text(written));
    const auto back = open_model(folder.path() / f.name);
    const auto theirs = open_model(golden("quantised") / f.name);
    EXPECT_EQ(back->names(), source->names());
    EXPECT_EQ(packed.loss->update, 0.0);
    EXPECT_GT(packed.loss->rounding, 0.0);
    const SafetensorsFile ours(folder.path() / f.name / "model.safetensors");
    const SafetensorsFile bnb(golden("quantised") / f.name / "model.safetensors");
    for (const StoredTensor& t : bnb.tensors()) {
      SCOPED_TRACE(t.name);
      const StoredTensor* const same = ours.find(t.name);
      ASSERT_NE(same, nullptr);
      EXPECT_EQ(same->dtype, t.dtype);
      if (t.name.find("quant_state") == std::string::npos) {  // filled up with blanks
        EXPECT_EQ(same->shape, t.shape);
      }
    }
    for (const std::string& name : source->names()) {
      SCOPED_TRACE(name);
      if (f.type != DType::nf4_nested) {  // of which scales may differ in a code
        EXPECT_EQ(checksum(read_all(*back, name)), checksum(read_all(*theirs, name)));
      }
      EXPECT_EQ(back->stored_type(name), packs(name) ? std::optional(f.type) : std::nullopt);
    }
  }
}

TEST(PackedTensors, what_is_quantised_in_another_way_is_named) {
  const TemporaryFolder folder;
  const std::string bytes = read_text(golden("quantised") / "nf4_nested/model.safetensors");
  const auto with = [&](const std::string& from, const std::string& to) {
    SCOPED_TRACE(from);
    EXPECT_EQ(from.size(), to.size());
    put(folder / "m/config.json", read_text(golden("quantised") / "nf4_nested/config.json"));
    put(folder / "m/model.safetensors", replace_first(bytes, from, to));
    return words_of([&] { open_model(folder / "m"); });
  };
  const std::string blocks = with("\"blocksize\": 64", "\"blocksize\": 32");
  EXPECT_NE(blocks.find("M273"), std::string::npos);
  EXPECT_NE(blocks.find("blocks of 32"), std::string::npos);
  EXPECT_NE(with("\"shape\": [48, 200]", "\"shape\": [48, 201]").find("M273"), std::string::npos);
  EXPECT_NE(with("\"nested_blocksize\": 256", "\"nested_blocksize\": 128").find("M273"),
            std::string::npos);
  EXPECT_NE(with("\"shape\": [48", "\"shapf\": [48").find("M273"), std::string::npos);
  std::string map(4, '\0');  // a number of the map
  const float number = -0.6961928009986877F;
  std::memcpy(map.data(), &number, 4);
  EXPECT_NE(with(map, "abcd").find("not those of bitsandbytes"), std::string::npos);
}

TEST(PackedTensors, a_matrix_without_columns_is_refused_before_its_scales_take_memory) {
  const TemporaryFolder folder;
  put(folder / "m/model.safetensors", read_text(SFT_TEST_DIR "/fuzz/corpus/packed/no_columns"));
  EXPECT_EQ(code_of([&] { PackedTensors{SafetensorsFolder(folder / "m")}; }), "M273");
}

TEST(PackedTensors, configs_that_are_not_read_are_named) {
  const TemporaryFolder folder;
  const auto code = [&](const char* config) {
    put(folder / "m/config.json", config);
    put(folder / "m/model.safetensors", read_text(golden("quantised") / "fp8/model.safetensors"));
    return code_of([&] { open_model(folder / "m"); });
  };
  EXPECT_EQ(code(R"({"quantization_config": {"quant_method": "awq"}})"), "M243");
  EXPECT_EQ(code(R"({"quantization_config": {"quant_method": "gptq", "bits": 4}})"), "M243");
  EXPECT_EQ(
      code(R"({"quantization_config": {"quant_method": "fp8", "weight_block_size": [64, 64]}})"),
      "C202");
  EXPECT_EQ(code(R"({"quantization_config": {"quant_method": "fp8", "fmt": "e5m2"}})"), "C202");
  EXPECT_EQ(
      code(R"({"quantization_config": {"quant_method": "fp8", "modules_to_not_convert": 3}})"),
      "C202");
  EXPECT_EQ(code(R"({"quantization_config": {"quant_method": "bitsandbytes"}})"), "C202");
  EXPECT_EQ(code(R"({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true,
                     "bnb_4bit_quant_type": "nf5"}})"),
            "C202");
}

}  // namespace
}  // namespace sft
