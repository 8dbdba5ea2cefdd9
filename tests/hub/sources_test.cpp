// What io and data fetch of a repository: all that is needed, and no more.
#include <algorithm>

#include "data/find/resolve.h"
#include "hub/support.h"
#include "io/model_source.h"
#include "support/paths.h"

namespace sft {
namespace {

using namespace sft::testing;

class HubSources : public ::testing::Test {
 protected:
  HubSources() { without_proxies(); }

  // The files that were asked for since the last time.
  std::vector<std::string> fetched() {
    std::vector<std::string> files;
    for (const Request& request : hub.server->requests()) {
      const size_t at = request.target.find("/resolve/");
      if (at != std::string::npos) {
        files.push_back(request.target.substr(at + 9 + 41));
      }
    }
    hub.server->forget();
    std::ranges::sort(files);
    return files;
  }
  std::string open_error(const std::string& name) {
    return std::string(
        error_of([&] { ModelSource::open(name, "main", hub.environment(cache.path())); })
            .code()
            .text());
  }

  FakeHub hub;
  TemporaryFolder cache;
};
using Names = std::vector<std::string>;

TEST_F(HubSources, OnlyTheFilesOfTheSplitAreFetched) {
  const std::string card =
      "---\nconfigs:\n- config_name: small\n  data_files:\n  - split: train\n"
      "    path: small/train-*.jsonl\n  - split: test\n    path: small/test.jsonl\n"
      "- config_name: large\n  data_files: large/*.jsonl\n---\n";
  hub.add("datasets/org/data", {{"README.md", {card}},
                                {"small/train-0.jsonl", {"{\"text\": \"a\"}\n"}},
                                {"small/train-1.jsonl", {"{\"text\": \"b\"}\n"}},
                                {"small/test.jsonl", {"{\"text\": \"c\"}\n"}},
                                {"large/x.jsonl", {"{\"text\": \"d\"}\n"}}});
  const HubEnvironment e = hub.environment(cache.path());
  const DatasetFiles train = resolve_dataset({"org/data", "small", "", {}}, "train", e);
  EXPECT_EQ(fetched(), (Names{"README.md", "small/train-0.jsonl", "small/train-1.jsonl"}));
  ASSERT_EQ(train.files.size(), 2u);
  EXPECT_EQ(read_text(train.files[1]), "{\"text\": \"b\"}\n");
  resolve_dataset({"hf://datasets/org/data@main", "large", "", {}}, "train", e);
  EXPECT_EQ(fetched(), (Names{"large/x.jsonl"}));
  resolve_dataset({"org/data", {}, "small", {}}, "test", e);
  EXPECT_EQ(fetched(), (Names{"small/test.jsonl"}));
  EXPECT_EQ(
      error_of([&] { resolve_dataset({"org/data", "none", "", {}}, "train", e); }).code().text(),
      "D006");
  EXPECT_EQ(error_of([&] { resolve_dataset({"org/none", {}, "", {}}, "train", e); }).code().text(),
            "M300");
  HubEnvironment offline = e;
  offline.offline = true;
  EXPECT_EQ(resolve_dataset({"org/data", "small", "", {}}, "train", offline).files, train.files);
  EXPECT_EQ(
      error_of([&] { resolve_dataset({"org/none", {}, "", {}}, "train", offline); }).code().text(),
      "D004");
  EXPECT_EQ(fetched(), Names{});
}

TEST_F(HubSources, AModelIsItsTextsAndItsSafetensors) {
  FakeFiles files;
  for (const char* name : {"config.json", "tokenizer.json", "tokenizer_config.json",
                           "generation_config.json", "model.safetensors"}) {
    files[name] = {read_text(fs::path(SFT_TEST_DIR).parent_path() / "examples/tiny-model" / name)};
  }
  for (const char* other : {"pytorch_model.bin", "model.Q4_0.gguf", "onnx/model.onnx", "README.md",
                            "flax_model.msgpack", "original/params.json"}) {
    files[other] = {"not needed"};
  }
  hub.add("models/org/model", files);
  const auto source = ModelSource::open("org/model", "main", hub.environment(cache.path()));
  EXPECT_EQ(source->name(), "org/model");
  EXPECT_TRUE(source->file_text("tokenizer.json"));
  EXPECT_TRUE(source->generation_config());
  EXPECT_FALSE(source->weights_are_here());
  EXPECT_EQ(fetched(), (Names{"config.json", "generation_config.json", "tokenizer.json",
                              "tokenizer_config.json"}));
  EXPECT_TRUE(source->has("model.norm.weight"));
  EXPECT_TRUE(source->weights_are_here());
  EXPECT_EQ(fetched(), Names{"model.safetensors"});
}

TEST_F(HubSources, AGgufFileIsFetchedWhenItsValuesAreWanted) {
  const fs::path file = fs::path(SFT_TEST_DIR) / "io/golden/qwen2.gguf";
  const std::string contents = read_text(file);
  hub.add("models/org/gguf", {{"qwen2.gguf", {contents, true}}});
  const HubEnvironment e = hub.environment(cache.path());
  const auto source = ModelSource::open("org/gguf", "main", e);
  const fs::path stored = source->path();
  EXPECT_FALSE(source->weights_are_here());
  EXPECT_FALSE(fs::exists(stored));
  const auto local = ModelSource::open(file.string(), "", e);
  EXPECT_EQ(source->config(), local->config());
  EXPECT_EQ(source->names(), local->names());
  EXPECT_EQ(source->file_text("tokenizer.json"), local->file_text("tokenizer.json"));
  EXPECT_FALSE(fs::exists(stored));
  const std::string tensor = "model.norm.weight";
  std::vector<float> values(static_cast<size_t>(source->shape(tensor).elements()), -1);
  std::vector<float> expected = values;
  source->read_f32(tensor, values.data());
  local->read_f32(tensor, expected.data());
  EXPECT_EQ(values, expected);
  EXPECT_TRUE(source->weights_are_here());
  EXPECT_EQ(read_text(stored), contents);
}

TEST_F(HubSources, AGgufFileOfAnotherArchitectureIsRefusedByItsBeginning) {
  std::string contents = read_text(fs::path(SFT_TEST_DIR) / "io/golden/qwen2.gguf");
  const std::string key = "general.architecture";
  const size_t at = contents.find("qwen2", contents.find(key) + key.size());
  contents[at + 4] = '9';
  hub.add("models/org/odd", {{"odd.gguf", {contents, true}}});
  EXPECT_EQ(open_error("org/odd"), "M229");
  const fs::path blobs = cache / "models--org--odd/blobs";
  EXPECT_TRUE(!fs::exists(blobs) || fs::is_empty(blobs));
}

TEST_F(HubSources, WeightsInTheCacheAreOpenedAtOnce) {
  hub.add_folder("models/org/model", fs::path(SFT_TEST_DIR).parent_path() / "examples/tiny-model");
  const HubEnvironment e = hub.environment(cache.path());
  ModelSource::open("org/model", "main", e)->names();
  EXPECT_TRUE(ModelSource::open("org/model", "main", e)->weights_are_here());
  HubEnvironment offline = e;
  offline.offline = true;
  EXPECT_TRUE(ModelSource::open("org/model", "main", offline)->weights_are_here());
}

TEST_F(HubSources, WhatIsNoModelIsRefused) {
  hub.add("models/org/bin", {{"config.json", {"{}"}}, {"pytorch_model.bin", {"x"}}});
  EXPECT_EQ(open_error("org/bin"), "M242");
  hub.add("models/org/ggufs", {{"a.gguf", {"x"}}, {"b.gguf", {"y"}}});
  EXPECT_EQ(open_error("org/ggufs"), "M247");
  EXPECT_TRUE(open_error("org/ggufs/b.gguf").starts_with("M2"));  // fetched, and no GGUF
  EXPECT_EQ(read_text(cache / "models--org--ggufs/refs/main").size(), 40u);
  EXPECT_EQ(open_error("org/ggufs/c.gguf"), "M304");
  hub.add("models/org/nothing", {{"README.md", {"x"}}});
  EXPECT_EQ(open_error("org/nothing"), "M241");
  hub.add("models/org/evil",
          {{"config.json", {"{}"}},
           {"model.safetensors.index.json", {R"({"weight_map": {"a": "../../../../evil"}})"}}});
  EXPECT_EQ(open_error("org/evil"), "M309");
  hub.add("models/org/short", {{"config.json", {"{}"}},
                               {"model.safetensors.index.json",
                                {R"({"weight_map": {"a": "model-1-of-2.safetensors"}})"}}});
  EXPECT_EQ(open_error("org/short"), "M304");
  EXPECT_EQ(open_error("org/none"), "M300");
}

}  // namespace
}  // namespace sft
