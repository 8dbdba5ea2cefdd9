#include "io/model_source.h"

#include <sys/stat.h>

#include <map>
#include <set>

#include "io/safetensors.h"
#include "io/support.h"

namespace sft {
namespace {

TEST(ModelSource, EveryGgufEqualsTheFolderItWasConvertedFrom) {
  ThreadPool pool(2);
  for (const std::string family : {"llama", "qwen2", "qwen3", "gemma3"}) {
    const auto folder = open_model(golden(family));
    const auto file = open_model(golden(family + ".gguf"));
    EXPECT_EQ(folder->stored_dtype(), DType::bf16);
    EXPECT_EQ(file->stored_dtype(), DType::bf16);
    EXPECT_EQ(std::set<std::string>(folder->names().begin(), folder->names().end()),
              std::set<std::string>(file->names().begin(), file->names().end()));
    for (const std::string& name : folder->names()) {
      ASSERT_EQ(folder->shape(name), file->shape(name)) << family << " " << name;
      const auto want = read_all(*folder, name, &pool);
      const auto got = read_all(*file, name, &pool);
      for (size_t i = 0; i < want.size(); ++i) {
        // Gemma's norms went through float32's (w + 1) and back.
        const float tolerance = family == "gemma3" && name.ends_with("norm.weight") ? 1e-7F : 0;
        ASSERT_NEAR(want[i], got[i], tolerance) << family << " " << name << " " << i;
      }
    }
  }
}

// Ranks read parts, of permuted tensors too.
TEST(ModelSource, PartsOfTensorsAreTheSameValues) {
  for (const char* file : {"llama", "llama.gguf", "gemma3.gguf", "qwen2.gguf"}) {
    const auto source = open_model(golden(file));
    for (const std::string& name : source->names()) {
      const std::vector<float> all = read_all(*source, name);
      const auto n = static_cast<int64_t>(all.size());
      for (const ElementRange part : {ElementRange{0, n / 2}, {n / 2, n}, {n / 3, n / 3 * 2}}) {
        std::vector<float> some(static_cast<size_t>(part.size()));
        source->read_f32(name, part, some.data());
        EXPECT_TRUE(std::ranges::equal(
            some, std::span(all).subspan(static_cast<size_t>(part.begin), some.size())))
            << name << " from " << part.begin;
      }
    }
  }
}

TEST(ModelSource, ConfigMadeFromGgufAgreesWithTheOriginal) {
  // Said by the folder's file and not to be known from a GGUF, or said in another form.
  const std::set<std::string> apart{"transformers_version", "sliding_window", "rope_parameters",
                                    "max_window_layers", "_sliding_window_pattern"};
  for (const std::string family : {"llama", "qwen2", "qwen3", "gemma3"}) {
    const auto folder = open_model(golden(family));
    const auto file = open_model(golden(family + ".gguf"));
    for (const auto& [key, value] : folder->config().items()) {
      if (!apart.contains(key) && !(key.starts_with("use_") && value == false)) {
        EXPECT_EQ(file->config().value(key, Json()), value) << family << " " << key;
      }
    }
    const Json& rope = file->config()["rope_parameters"];
    EXPECT_EQ(nlohmann::json::parse(rope.dump()),
              nlohmann::json::parse(folder->config()["rope_parameters"].dump()))
        << family;
    EXPECT_EQ(file->config()["torch_dtype"], "bfloat16");
  }
  const Json gemma = open_model(golden("gemma3.gguf"))->config();
  EXPECT_EQ(gemma["rope_theta"], 1e6);
  EXPECT_EQ(gemma["rope_local_base_freq"], 1e4);
  EXPECT_EQ(gemma["rope_scaling"]["factor"], 8.0);
  EXPECT_EQ(gemma["sliding_window"], 32);
  const Json llama = open_model(golden("llama.gguf"))->config();
  EXPECT_EQ(llama["rope_theta"], 1e4);
  EXPECT_EQ(llama["rope_scaling"]["rope_type"], "llama3");
}

TEST(ModelSource, OffersTheTextFiles) {
  const auto folder = open_model(golden("llama"));
  EXPECT_EQ(folder->file_text("config.json"), read_text(golden("llama/config.json")));
  EXPECT_FALSE(folder->file_text("tokenizer.json").has_value());
  EXPECT_FALSE(folder->chat_template().has_value());
  EXPECT_EQ((*folder->generation_config())["eos_token_id"], 2);
  const auto file = open_model(golden("llama.gguf"));
  EXPECT_EQ(file->chat_template(), "{{ messages }}");
  EXPECT_EQ((*file->generation_config())["pad_token_id"], 0);
  EXPECT_EQ(file->format(), "GGUF BF16");
}

void copy_model(const fs::path& from, const fs::path& to) {
  fs::create_directories(to);
  fs::copy(from, to, fs::copy_options::recursive);
}

// A run may last longer than the folder that it began from.
TEST(ModelSource, TheTextsStayWhenTheFolderGoes) {
  const TemporaryFolder folder;
  fs::copy(golden("qwen2"), folder / "model", fs::copy_options::recursive);
  const auto source = open_model(folder / "model");
  std::map<std::string, std::optional<std::string>> texts;
  for (const auto& entry : fs::directory_iterator(folder / "model")) {
    if (entry.path().extension() != ".safetensors") {
      texts[entry.path().filename().string()] = read_text(entry.path());
    }
  }
  ASSERT_TRUE(texts.contains("config.json"));
  fs::remove_all(folder / "model");
  for (const auto& [name, text] : texts) {
    EXPECT_EQ(source->file_text(name), text) << name;
  }
}

TEST(ModelSource, ATextThatIsNoFileIsNotPassedOver) {
  const TemporaryFolder folder;
  fs::copy(golden("qwen2"), folder / "model", fs::copy_options::recursive);
  fs::remove(folder / "model/generation_config.json");
  ASSERT_EQ(::mkfifo((folder / "model/generation_config.json").c_str(), 0600), 0);
  EXPECT_EQ(code_of([&] { open_model(folder / "model"); }), "M001");
}

// It would be trained with, saved and published.
TEST(ModelSource, ATextIsNoLinkToSomethingElse) {
  const TemporaryFolder folder;
  put(folder / "home/key", "secret");
  put(folder / "home/chat_template.jinja", "mine");
  fs::copy(golden("qwen2"), folder / "model", fs::copy_options::recursive);
  const auto with_link = [&](const std::string& name, const std::string& to) {
    const fs::path link = folder / ("model/" + name);
    fs::create_directories(link.parent_path());
    fs::remove(link);
    fs::create_symlink(to, link);
    const std::string code = code_of([&] { open_model(folder / "model")->chat_templates(); });
    fs::remove(link);
    return code;
  };
  EXPECT_EQ(with_link("chat_template.jinja", "../home/key"), "M259");
  EXPECT_EQ(with_link("chat_template.jinja", (folder / "home/key").string()), "M259");
  EXPECT_EQ(with_link("merges.txt", "../home/key"), "M259");
  EXPECT_EQ(with_link("additional_chat_templates/a.jinja", "../../home/key"), "M259");
  // Links inside the folder, and those to a file of the same name elsewhere, are what they seem.
  EXPECT_EQ(with_link("chat_template.jinja", "../home/chat_template.jinja"), "");
  put(folder / "model/other.txt", "inside");
  EXPECT_EQ(with_link("chat_template.jinja", "other.txt"), "");
}

TEST(ModelSource, ChatTemplatesComeFromAllTheirPlaces) {
  const TemporaryFolder folder;
  copy_model(golden("llama"), folder / "m");
  const auto templates = [&] { return open_model(folder / "m")->chat_templates(); };
  using Map = std::map<std::string, std::string>;
  put(folder / "m/tokenizer_config.json", R"({"chat_template": "inline"})");
  EXPECT_EQ(templates(), (Map{{"default", "inline"}}));
  put(folder / "m/tokenizer_config.json",
      R"({"chat_template": [{"name": "default", "template": "d"},)"
      R"( {"name": "tool_use", "template": "t"}]})");
  EXPECT_EQ(templates(), (Map{{"default", "d"}, {"tool_use", "t"}}));
  put(folder / "m/chat_template.jinja", "file");
  put(folder / "m/additional_chat_templates/rag.jinja", "r");
  EXPECT_EQ(templates(), (Map{{"default", "file"}, {"rag", "r"}}));
  fs::remove(folder / "m/chat_template.jinja");
  put(folder / "m/tokenizer_config.json", R"({"chat_template": 5})");
  EXPECT_EQ(code_of(templates), "M249");
}

TEST(ModelSource, MissingTensorsAndWrongShapesAreNamed) {
  const auto source = open_model(golden("llama"));
  EXPECT_EQ(code_of([&] { source->require("model.norm.weight", Shape{32}); }), "");
  const std::string shape = words_of([&] { source->require("model.norm.weight", Shape{33}); });
  EXPECT_NE(shape.find("M245"), std::string::npos) << shape;
  EXPECT_NE(shape.find("model.norm.weight"), std::string::npos);
  EXPECT_NE(shape.find("(32)"), std::string::npos) << shape;
  EXPECT_NE(shape.find("(33)"), std::string::npos) << shape;
  const std::string missing = words_of([&] { source->shape("model.norm.weigth"); });
  EXPECT_NE(missing.find("M244"), std::string::npos) << missing;
  EXPECT_NE(missing.find("\"model.norm.weight\""), std::string::npos) << missing;
}

TEST(ModelSource, FoldersThatAreNoModelSayWhy) {
  const TemporaryFolder folder;
  const auto code = [&](const std::string& name) {
    return code_of([&] { open_model(folder / name); });
  };
  fs::create_directories(folder / "empty");
  EXPECT_EQ(code("empty"), "M241");
  put(folder / "adapter/adapter_config.json", "{}");
  EXPECT_NE(words_of([&] { open_model(folder / "adapter"); }).find("LoRA"), std::string::npos);
  put(folder / "bin/config.json", "{}");
  put(folder / "bin/pytorch_model.bin", "x");
  EXPECT_EQ(code("bin"), "M242");
  EXPECT_NE(words_of([&] { open_model(folder / "bin"); }).find(".bin"), std::string::npos);
  copy_model(golden("llama"), folder / "quantised");
  put(folder / "quantised/config.json", R"({"quantization_config": {"quant_method": "gptq"}})");
  EXPECT_EQ(code("quantised"), "M243");
  EXPECT_NE(words_of([&] { open_model(folder / "quantised"); }).find("gptq"), std::string::npos);
  put(folder / "quantised/config.json", "[]");
  EXPECT_EQ(code("quantised"), "M248");
  put(folder / "quantised/config.json", "{");
  EXPECT_EQ(code("quantised"), "M010");
  fs::create_directories(folder / "two");
  fs::copy(golden("llama.gguf"), folder / "two/a.gguf");
  EXPECT_EQ(code("two"), "");
  fs::copy(golden("llama.gguf"), folder / "two/b.gguf");
  EXPECT_EQ(code("two"), "M247");
  EXPECT_EQ(code_of([] { open_model(golden("llama/model.safetensors")); }), "M241");
  EXPECT_EQ(code_of([] { open_model(golden("llama/config.json")); }), "M220");
  EXPECT_EQ(code_of([] { open_model(""); }), "C030");
}

TEST(ModelSource, AHubIdIsFoundInTheCacheOrAllPlacesAreNamed) {
  const TemporaryFolder folder;
  HubEnvironment environment;
  environment.hf_home = folder.path().string();
  const auto open = [&](const std::string& id, const std::string& revision) {
    return ModelSource::open(id, revision, environment);
  };
  const fs::path repository = folder / "hub/models--acme--tiny";
  copy_model(golden("llama"), repository / "snapshots/0123abcd");
  put(repository / "refs/main", "0123abcd");
  EXPECT_EQ(open("acme/tiny", "")->path(), repository / "snapshots/0123abcd");
  EXPECT_EQ(open("acme/tiny", "0123abcd")->name(), "acme/tiny");
  const std::string words = words_of([&] { open("acme/tiny", "v2"); });
  EXPECT_NE(words.find("M305"), std::string::npos);
  EXPECT_NE(words.find((repository / "refs/v2").string()), std::string::npos) << words;
  EXPECT_NE(words.find((repository / "snapshots/v2").string()), std::string::npos) << words;
  EXPECT_EQ(code_of([&] { open("./acme/tiny", ""); }), "M240");
  EXPECT_EQ(code_of([&] { open("acme/tiny", "../../main"); }), "M305");
}

TEST(ModelSource, ABareModelGetsItsPrefix) {
  const TemporaryFolder folder;
  copy_model(golden("qwen2"), folder / "m");
  std::string bytes = read_text(golden("qwen2/model.safetensors"));
  for (size_t at = bytes.find("\"model."); at != std::string::npos;
       at = bytes.find("\"model.", at)) {
    bytes.replace(at, 7, "\"");
    bytes.insert(bytes.find('}', at) + 1, "      ");
  }
  put(folder / "m/model.safetensors", bytes);
  const auto source = open_model(folder / "m");
  EXPECT_TRUE(source->has("model.embed_tokens.weight"));
  EXPECT_EQ(read_all(*source, "model.norm.weight"),
            read_all(*open_model(golden("qwen2")), "model.norm.weight"));
}

std::string with_flag(const fs::path& config, const std::string& from, const std::string& to) {
  return replace_first(read_text(config), "\"tie_word_embeddings\": " + from,
                       "\"tie_word_embeddings\": " + to);
}

TEST(ModelSource, AHeadThatDiffersIsNotTiedWhateverTheFlagSays) {
  const TemporaryFolder folder;
  copy_model(golden("llama"), folder / "m");
  put(folder / "m/config.json", with_flag(golden("llama/config.json"), "false", "true"));
  const auto source = open_model(folder / "m");
  EXPECT_EQ(source->config()["tie_word_embeddings"], false);
  // Two that are the same stay tied.
  std::string bytes = read_text(golden("llama/model.safetensors"));
  const std::vector<float> embedding = read_all(*source, "model.embed_tokens.weight");
  const SafetensorsFile file(golden("llama/model.safetensors"));
  const size_t begin = bytes.size() - [&] {
    size_t all = 0;
    for (const StoredTensor& t : file.tensors()) {
      all += static_cast<size_t>(t.elements()) * 2;
    }
    return all;
  }();
  bytes.replace(begin, embedding.size() * 2,
                bytes.substr(begin + embedding.size() * 2, embedding.size() * 2));
  put(folder / "m/model.safetensors", bytes);
  const auto same = open_model(folder / "m");
  ASSERT_EQ(read_all(*same, "lm_head.weight"), read_all(*same, "model.embed_tokens.weight"));
  EXPECT_EQ(same->config()["tie_word_embeddings"], true);
}

TEST(ModelSource, WhereOnlyTheHeadIsThereATiedModelTakesItAsEmbedding) {
  const TemporaryFolder folder;
  copy_model(golden("qwen2"), folder / "m");
  put(folder / "m/model.safetensors",
      replace_first(read_text(golden("qwen2/model.safetensors")), "\"model.embed_tokens.weight\"",
                    "\"lm_head.weight\"           "));
  const auto source = open_model(folder / "m");
  EXPECT_EQ(read_all(*source, "model.embed_tokens.weight"),
            read_all(*open_model(golden("qwen2")), "model.embed_tokens.weight"));
  put(folder / "m/config.json", with_flag(golden("qwen2/config.json"), "true", "false"));
  EXPECT_FALSE(open_model(folder / "m")->has("model.embed_tokens.weight"));
}

TEST(ModelSource, WeightsWithAnAdapterBesideThemAreRefused) {
  const TemporaryFolder folder;
  copy_model(golden("qwen2"), folder / "m");
  put(folder / "m/adapter_config.json", "{}");
  EXPECT_EQ(code_of([&] { open_model(folder / "m"); }), "M251");
}

TEST(ModelSource, GgufFilesOfOtherArchitecturesAreRefusedByName) {
  const TemporaryFolder folder;
  std::string bytes = read_text(golden("qwen2.gguf"));
  for (size_t at = bytes.find("qwen2"); at != std::string::npos; at = bytes.find("qwen2", at + 1)) {
    bytes.replace(at, 5, "qwen9");
  }
  put(folder / "x.gguf", bytes);
  const std::string words = words_of([&] { open_model(folder / "x.gguf"); });
  EXPECT_NE(words.find("M229"), std::string::npos) << words;
  EXPECT_NE(words.find("qwen9"), std::string::npos) << words;
  EXPECT_NE(words.find("llama, mistral3, qwen2, qwen3, qwen3moe, qwen3next, qwen35, qwen35moe"),
            std::string::npos)
      << words;
  put(folder / "quants.gguf", read_text(golden("quants.gguf")));
  EXPECT_EQ(code_of([&] { open_model(folder / "quants.gguf"); }), "M229");
}

}  // namespace
}  // namespace sft
