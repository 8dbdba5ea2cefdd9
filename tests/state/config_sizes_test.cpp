// Sizes in config.json that are not those of the weights are named before anything is made of them.
#include "state/config_sizes.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "core/error.h"
#include "core/file_writer.h"
#include "state/loaded_model.h"
#include "support/paths.h"

namespace sft {
namespace {

struct TemporaryFolder {
  fs::path path = fs::path(testing::TempDir()) / fmt::format("sft_state_{}", ::getpid());
  TemporaryFolder() { fs::create_directories(path); }
  ~TemporaryFolder() { fs::remove_all(path); }
};

std::unique_ptr<ModelSource> open(const fs::path& folder) {
  return ModelSource::open(folder.string(), "", HubEnvironment{});
}

// The folder of a family with these fields of config.json changed.
void change(const fs::path& from, const fs::path& to, const Json& fields) {
  fs::create_directories(to);
  for (const fs::path& file : paths_in(from)) {
    fs::copy_file(file, to / file.filename(), fs::copy_options::overwrite_existing);
  }
  Json config = read_json(from / "config.json");
  config.update(fields);
  write_text(to / "config.json", config.dump());
}

std::vector<fs::path> families() {
  std::vector<fs::path> found;
  for (const fs::path& folder : paths_in(SFT_TEST_DIR "/model/golden")) {
    if (is_file(folder / "model.safetensors")) {
      found.push_back(folder);
    }
  }
  return found;
}

std::string code_of(const ModelSource& source) {
  try {
    described_model(source);
    return "";
  } catch (const Error& e) {
    return std::string(e.code().text());
  }
}

// GLM-4.5's files have a layer behind the last, which guesses further tokens.
TEST(ConfigSizes, LayersThatGuessFurtherTokensAreNoPartOfTheModel) {
  const TemporaryFolder folder;
  const fs::path glm = fs::path(SFT_TEST_DIR) / "model/golden/glm4_moe";
  change(glm, folder.path, {{"num_hidden_layers", 2}, {"num_nextn_predict_layers", 1}});
  EXPECT_EQ(code_of(*open(folder.path)), "");
  change(glm, folder.path, {{"num_hidden_layers", 2}, {"num_nextn_predict_layers", 0}});
  EXPECT_EQ(code_of(*open(folder.path)), "M258");
}

TEST(ConfigSizes, EachFieldThatTheWeightsContradictIsNamedWithBothValues) {
  const std::vector<fs::path> all = families();
  ASSERT_GE(all.size(), 5u);
  for (const fs::path& family : all) {
    const TemporaryFolder folder;
    const ModelConfig sound = described_model(*open(family)).config;
    std::vector<std::pair<const char*, int64_t>> fields = {
        {"vocab_size", sound.vocab},
        {"hidden_size", sound.hidden},
        {"intermediate_size", sound.intermediate},
        {"num_hidden_layers", sound.layers},
        {"num_attention_heads", sound.heads},
        {"num_key_value_heads", sound.kv_heads},
        {"head_dim", sound.head_dim}};
    const Json config = read_json(family / "config.json");
    if (sound.layer.front().experts) {  // which have sizes of their own, where the first MLP stands
      const char* const count = config.contains("n_routed_experts")    ? "n_routed_experts"
                                : config.contains("num_local_experts") ? "num_local_experts"
                                                                       : "num_experts";
      fields.emplace_back(count, sound.routing.experts);
      if (config.contains("moe_intermediate_size")) {
        fields[2] = {"moe_intermediate_size", sound.expert_intermediate};
      }
    }
    for (const auto& [field, value] : fields) {
      for (const int64_t wrong : {2 * value, 4 * value}) {
        Json change_to = {{field, wrong}};
        if (std::string_view(field) != "head_dim") {
          change_to["head_dim"] = sound.head_dim;  // which follows from others where it is not said
        }
        const std::string_view name = field;
        const bool by_layer = name == "head_dim" || name == "num_hidden_layers";
        if ((name == "num_key_value_heads" && sound.heads % wrong != 0) ||
            (by_layer && config.contains("per_layer_config"))) {
          continue;  // refused for itself
        }
        if (std::string_view(field) == "vocab_size" &&
            config.contains("vocab_size_per_layer_input")) {
          change_to["vocab_size_per_layer_input"] = wrong;  // which has no fewer words
        }
        if (std::string_view(field) == "num_hidden_layers") {
          change_to["layer_types"] = nullptr;  // which has a length of its own
          change_to["no_rope_layers"] = nullptr;
        }
        if (std::string_view(field) == "head_dim") {
          change_to["rope_parameters"] = nullptr;  // whose lists have lengths of their own
          change_to["rope_scaling"] = nullptr;
        }
        change(family, folder.path, change_to);
        try {
          described_model(*open(folder.path));
          ADD_FAILURE() << family << ' ' << field << ' ' << wrong << " was taken";
        } catch (const Error& e) {
          EXPECT_EQ(e.code().text(), "M258") << family << ' ' << e.what();
          EXPECT_NE(e.message().find(fmt::format("\"{}\" is {}", field, wrong)), std::string::npos)
              << e.message();
          EXPECT_NE(e.message().find(fmt::format("have {}", value)), std::string::npos)
              << e.message();
        }
      }
    }
  }
}

// Written by hand: what a stranger may put into a header.
TEST(ConfigSizes, HeadersOfAnyKindAreAnErrorWithACode) {
  const TemporaryFolder folder;
  change(SFT_TEST_DIR "/../examples/tiny-model", folder.path, Json::object());
  for (
      const char* tensors :
      {R"("model.embed_tokens.weight":{"dtype":"F32","shape":[],"data_offsets":[0,4]})",
       R"("model.embed_tokens.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})",
       R"("model.embed_tokens.weight":{"dtype":"F32","shape":[1,1,1,1,1,1],"data_offsets":[0,4]})",
       R"("model.layers.9223372036854775807.x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})",
       R"("model.layers.-1.x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})",
       R"("model.layers.0.self_attn.q_proj.weight":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]})",
       R"("model.layers.0.self_attn.k_proj.weight":{"dtype":"F32","shape":[],"data_offsets":[0,4]})"}) {
    const std::string header = std::string("{") + tensors + "}";
    std::string file(8, '\0');
    file[0] = static_cast<char>(header.size());
    write_text(folder.path / "model.safetensors", file + header + "1234");
    const auto source = open(folder.path);
    try {
      check_weights(*source, described_model(*source));
      ADD_FAILURE() << tensors;
    } catch (const Error& e) {
      EXPECT_TRUE(e.code() == "M244" || e.code() == "M245" || e.code() == "M258") << e.what();
    }
  }
}

TEST(ConfigSizes, FewerLayersAreTakenWhereTheyAreAskedForOnly) {
  const TemporaryFolder folder;
  const fs::path model = SFT_TEST_DIR "/../examples/tiny-model";
  change(model, folder.path, {{"num_hidden_layers", 1}});
  EXPECT_EQ(code_of(*open(folder.path)), "M258");
  const auto source = open(model);
  source->override_config({{"num_hidden_layers", 1}});
  EXPECT_EQ(described_model(*source).config.layers, 1);
  const auto larger = open(model);
  larger->override_config({{"num_hidden_layers", 3}});
  EXPECT_EQ(code_of(*larger), "M258");
}

}  // namespace
}  // namespace sft
