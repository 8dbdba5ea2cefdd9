#include "io/model_saver.h"

#include <sys/resource.h>

#include <csignal>
#include <set>

#include "io/saved_config.h"
#include "io/support.h"

namespace sft {
namespace {

// A folder with the tiny Llama's weights and whatever JSON a test wants.
class Source {
 public:
  explicit Source(const std::string& family = "llama") {
    fs::copy(golden(family), folder_ / "source", fs::copy_options::recursive);
  }
  Source& file(const std::string& name, const std::string& text) {
    put(folder_ / ("source/" + name), text);
    return *this;
  }
  fs::path path() const { return folder_ / "source"; }
  fs::path saved() const { return folder_ / "saved"; }
  std::string saved_text(const std::string& name) const { return read_text(saved() / name); }
  Json saved_json(const std::string& name) const { return read_json(saved() / name); }

  SaveReport save(const SaveOptions& options = {}) const {
    const auto source = open_model(path());
    const Weights weights(*source);
    return save_model(saved(), *source, streamed(weights.tensors), options);
  }

 private:
  TemporaryFolder folder_;
};

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

const char* const kOldConfig = R"({
    "architectures": ["LlamaForCausalLM"],
    "_name_or_path": "/home/me/secret",
    "model_type": "llama",
    "rope_theta": 10000.0,
    "rope_scaling": {"factor": 8.0, "type": "linear"},
    "torch_dtype": "bfloat16",
    "use_cache": false,
    "eos_token_id": 2,
    "tie_word_embeddings": false,
    "unknown_thing": [1, {"x": 1e-05}],
    "vocab_size": 50
}
)";

TEST(ModelSaver, WeightsComeBackAsTheyWere) {
  const Source source;
  SaveOptions options;
  options.max_shard_bytes = 9000;
  source.save(options);
  EXPECT_TRUE(fs::exists(source.saved() / "model.safetensors.index.json"));
  const auto before = open_model(source.path());
  const auto after = open_model(source.saved());
  ASSERT_EQ(after->names().size(), before->names().size());
  for (const std::string& name : before->names()) {
    EXPECT_EQ(read_all(*before, name), read_all(*after, name));
  }
  EXPECT_EQ(after->stored_dtype(), DType::f32);
}

TEST(ModelSaver, OnlyNamedKeysOfAnOldConfigChange) {
  Source source;
  source.file("config.json", kOldConfig);
  SaveOptions options;
  options.dtype = DType::bf16;
  options.sft_version = "0.1";
  const SaveReport report = source.save(options);
  EXPECT_EQ(source.saved_text("config.json"), R"({
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "rope_theta": 10000.0,
    "rope_scaling": {"factor": 8.0, "type": "linear"},
    "torch_dtype": "bfloat16",
    "use_cache": true,
    "eos_token_id": 2,
    "tie_word_embeddings": false,
    "unknown_thing": [1, {"x": 1e-05}],
    "vocab_size": 48,
    "dtype": "bfloat16",
    "rope_parameters": {
        "factor": 8.0,
        "rope_type": "linear",
        "rope_theta": 10000.0
    },
    "sft_version": "0.1"
}
)");
  ASSERT_EQ(report.changes.size(), 1U);
  EXPECT_EQ(
      report.changes[0],
      "config.json: dtype, rope_parameters, use_cache, vocab_size, _name_or_path, sft_version");
}

TEST(ModelSaver, BothRopeFormsSayTheSame) {
  const auto completed = [](const std::string& text) {
    JsonEditor editor(text, "config.json");
    complete_rope_forms(editor);
    return editor.json();
  };
  Json c = completed(R"({"rope_parameters": {"rope_type": "default", "rope_theta": 5.0}})");
  EXPECT_EQ(c["rope_theta"], 5.0);
  EXPECT_FALSE(c.contains("rope_scaling"));
  c = completed(R"({"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 5.0}})");
  EXPECT_EQ(c["rope_scaling"], (Json{{"rope_type", "yarn"}, {"factor", 4.0}}));
  c = completed(R"({"rope_parameters": {
      "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
      "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}})");
  EXPECT_EQ(c["rope_theta"], 1e6);
  EXPECT_EQ(c["rope_local_base_freq"], 1e4);
  EXPECT_EQ(c["rope_scaling"], (Json{{"rope_type", "linear"}, {"factor", 8.0}}));
  const std::string young = R"({"rope_parameters": {
      "full_attention": {"rope_type": "proportional", "rope_theta": 1e6},
      "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}})";
  EXPECT_EQ(completed(young), Json::parse(young));  // transformers 4 knows no such rope
  c = completed(R"({"rope_theta": 1e6, "rope_local_base_freq": 1e4,
                    "rope_scaling": {"rope_type": "linear", "factor": 8.0}})");
  EXPECT_EQ(c["rope_parameters"]["full_attention"],
            (Json{{"rope_type", "linear"}, {"factor", 8.0}, {"rope_theta", 1e6}}));
  EXPECT_EQ(c["rope_parameters"]["sliding_attention"],
            (Json{{"rope_type", "default"}, {"rope_theta", 1e4}}));
  c = completed(R"({"rope_theta": 7.0, "rope_scaling": null})");
  EXPECT_EQ(c["rope_parameters"], (Json{{"rope_type", "default"}, {"rope_theta", 7.0}}));
  const std::string both = R"({"rope_theta": 7.0, "rope_parameters": {"rope_theta": 7.0}})";
  EXPECT_EQ(completed(both), Json::parse(both));
  EXPECT_EQ(completed("{}"), Json::object());
}

// Its class in transformers 4 wants three fields in rope_scaling, and the others beside it.
TEST(ModelSaver, LongropeOfPhi3IsInTheFormThatTransformers4Takes) {
  const auto completed = [](const char* text) {
    JsonEditor editor(text, "config.json");
    complete_rope_forms(editor);
    return editor.json();
  };
  const Json c = completed(R"({"model_type": "phi3", "rope_parameters": {"rope_type": "longrope",
      "rope_theta": 5.0, "partial_rotary_factor": 0.75, "original_max_position_embeddings": 32,
      "short_factor": [1.0], "long_factor": [2.0]}})");
  EXPECT_EQ(c["rope_scaling"],
            (Json{{"type", "longrope"}, {"short_factor", {1.0}}, {"long_factor", {2.0}}}));
  EXPECT_EQ(c["rope_theta"], 5.0);
  EXPECT_EQ(c["partial_rotary_factor"], 0.75);
  EXPECT_EQ(c["original_max_position_embeddings"], 32);
  const Json more = completed(R"({"model_type": "phi3", "rope_parameters": {"rope_type": "longrope",
      "rope_theta": 5.0, "attention_factor": 1.5, "short_factor": [1.0], "long_factor": [2.0]}})");
  EXPECT_FALSE(more.contains("rope_scaling"));  // which could not say it
}

// Transformers 4 looks for some of a rope's fields beside rope_scaling, or takes another default.
TEST(ModelSaver, WhatTransformers4LooksForElsewhereIsThereToo) {
  const auto completed = [](const char* text) {
    JsonEditor editor(text, "config.json");
    complete_rope_forms(editor);
    return editor.json();
  };
  Json c = completed(R"({"model_type": "qwen3_next", "rope_parameters": {"rope_type": "default",
      "rope_theta": 5.0, "partial_rotary_factor": 0.5}})");
  EXPECT_EQ(c["partial_rotary_factor"], 0.5);
  c = completed(R"({"rope_parameters": {"rope_type": "longrope", "rope_theta": 5.0, "factor": 4.0,
      "original_max_position_embeddings": 16, "short_factor": [1.0], "long_factor": [2.0]}})");
  EXPECT_EQ(c["original_max_position_embeddings"], 16);
  EXPECT_NEAR(c["rope_scaling"]["attention_factor"].get<double>(), std::sqrt(1.5), 1e-12);
  c = completed(R"({"model_type": "gpt_oss", "rope_parameters": {"rope_type": "default",
      "rope_theta": 5.0}})");
  EXPECT_TRUE(c.contains("rope_scaling") && c["rope_scaling"].is_null());
  JsonEditor experts(R"({"model_type": "qwen3_moe", "num_local_experts": 6})", "config.json");
  edit_config(experts, {}, {});
  EXPECT_EQ(experts.json()["num_experts"], 6);
}

TEST(ModelSaver, ATurnEndThatIsNotEosIsAddedEverywhere) {
  Source source;
  source.file("config.json", kOldConfig)
      .file("generation_config.json", "{\"eos_token_id\": 2, \"temperature\": 0.6}")
      .file("tokenizer.json", "{}")
      .file("tokenizer_config.json",
            R"({"eos_token": "<end>", "tokenizer_class": "Qwen2Tokenizer"})")
      .file("special_tokens_map.json", R"({"eos_token": {"content": "<end>"}})");
  SaveOptions options;
  options.turn_end = TokenRef{"<|im_end|>", 7};
  const SaveReport report = source.save(options);
  EXPECT_EQ(source.saved_json("config.json")["eos_token_id"], 7);
  EXPECT_EQ(source.saved_json("generation_config.json"),
            (Json{{"eos_token_id", {7, 2}}, {"temperature", 0.6}}));
  EXPECT_EQ(source.saved_json("tokenizer_config.json")["eos_token"], "<|im_end|>");
  EXPECT_EQ(source.saved_json("tokenizer_config.json")["tokenizer_class"], "Qwen2Tokenizer");
  EXPECT_EQ(source.saved_json("special_tokens_map.json")["eos_token"], "<|im_end|>");
  EXPECT_EQ(report.changes.at(1), "generation_config.json: eos_token_id");
}

TEST(ModelSaver, ATurnEndAmongTheEosIdsChangesNothing) {
  Source source;
  const std::string generation = R"({"eos_token_id": [7, 2]})";
  source
      .file("config.json",
            replace_first(kOldConfig, "\"eos_token_id\": 2", "\"eos_token_id\": [2, 7]"))
      .file("generation_config.json", generation)
      .file("tokenizer.json", "{}")
      .file("tokenizer_config.json", R"({"eos_token": "<end>", "tokenizer_class": "X"})");
  SaveOptions options;
  options.turn_end = TokenRef{"<|im_end|>", 7};
  source.save(options);
  EXPECT_EQ(source.saved_text("generation_config.json"), generation);
  EXPECT_EQ(source.saved_json("tokenizer_config.json")["eos_token"], "<end>");
  EXPECT_EQ(source.saved_json("config.json")["eos_token_id"], (Json{2, 7}));
}

TEST(ModelSaver, WithoutAGenerationConfigTheIdsAreWritten) {
  Source source;
  fs::remove(source.path() / "generation_config.json");
  source.save();
  EXPECT_EQ(nlohmann::json(source.saved_json("generation_config.json")),
            nlohmann::json::parse(R"({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0})"));
}

TEST(ModelSaver, TokenizerFilesLoadInBothGenerations) {
  Source source;
  source.file("tokenizer.json", "{\"model\":  {}}")
      .file("vocab.json", "{ }")
      .file("chat_template.jinja", "{{ 'a' }}\n")
      .file("tokenizer_config.json",
            R"({"tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<x>"],)"
            R"( "bos_token": {"__type": "AddedToken", "content": "<s>", "lstrip": false}})");
  source.save();
  EXPECT_EQ(source.saved_text("tokenizer.json"), "{\"model\":  {}}");
  EXPECT_EQ(source.saved_text("vocab.json"), "{ }");
  EXPECT_EQ(source.saved_text("chat_template.jinja"), "{{ 'a' }}\n");
  const Json config = source.saved_json("tokenizer_config.json");
  EXPECT_EQ(config["tokenizer_class"], "PreTrainedTokenizerFast");
  EXPECT_EQ(config["chat_template"], "{{ 'a' }}\n");
  EXPECT_FALSE(config.contains("extra_special_tokens"));
  EXPECT_EQ(config["additional_special_tokens"], Json::array({"<x>"}));
  EXPECT_EQ(source.saved_json("special_tokens_map.json"),
            (Json{{"additional_special_tokens", {"<x>"}},
                  {"bos_token", {{"content", "<s>"}, {"lstrip", false}}}}));
}

TEST(ModelSaver, TheTemplateUsedInTrainingIsSaved) {
  Source source;
  source.file("tokenizer.json", "{}")
      .file("tokenizer_config.json",
            R"({"tokenizer_class": "X", "chat_template": [{"name": "default", "template": "d"},)"
            R"( {"name": "t", "template": "u"}]})");
  source.save();
  EXPECT_EQ(source.saved_text("chat_template.jinja"), "d");
  EXPECT_EQ(source.saved_json("tokenizer_config.json")["chat_template"].size(), 2U);
  SaveOptions options;
  options.chat_template = "new";
  options.pad = TokenRef{"<pad>", 0};
  options.tokenizer_json = "{\"added\": 1}";
  options.tokenizer_config = Json{{"model_max_length", 512}};
  const SaveReport report = source.save(options);
  EXPECT_EQ(source.saved_text("chat_template.jinja"), "new");
  EXPECT_EQ(source.saved_text("tokenizer.json"), "{\"added\": 1}");
  const Json config = source.saved_json("tokenizer_config.json");
  EXPECT_EQ(config["chat_template"], "new");
  EXPECT_EQ(config["pad_token"], "<pad>");
  EXPECT_EQ(config["model_max_length"], 512);
}

TEST(ModelSaver, ATiedHeadIsLeftOut) {
  const Source source("qwen2");
  const auto model = open_model(source.path());
  Weights weights(*model);
  weights.tensors.push_back({"lm_head.weight", weights.tensors[0].tensor});
  save_model(source.saved(), *model, streamed(weights.tensors), {});
  EXPECT_FALSE(open_model(source.saved())->has("lm_head.weight"));
  EXPECT_EQ(source.saved_json("config.json")["tie_word_embeddings"], true);
}

TEST(ModelSaver, TheCardNamesNoPrivatePath) {
  Source source;
  source.file("README.md", "---\nlanguage: en\nlicense: apache-2.0\n---\nlicense: other\n");
  SaveOptions options;
  options.datasets = {"acme/talk", "/home/me/private.jsonl"};
  source.save(options);
  const std::string card = source.saved_text("README.md");
  EXPECT_NE(card.find("license: apache-2.0\n"), std::string::npos) << card;
  EXPECT_NE(card.find("- \"acme/talk\"\n"), std::string::npos) << card;
  EXPECT_NE(card.find("- sft\n- trl-compatible\n"), std::string::npos);
  EXPECT_EQ(card.find("private"), std::string::npos);
  EXPECT_EQ(card.find(source.path().string()), std::string::npos);
}

TEST(ModelSaver, AGgufBecomesAWholeFolder) {
  const TemporaryFolder folder;
  const auto source = open_model(golden("llama.gguf"));
  const Weights weights(*source);
  SaveOptions options;
  options.dtype = source->stored_dtype();
  const SaveReport report =
      save_model(folder / "saved", *source, streamed(weights.tensors), options);
  EXPECT_TRUE(report.changes.empty()) << report.changes.front();
  EXPECT_EQ(names_in(folder / "saved"),
            (std::set<std::string>{"README.md", "chat_template.jinja", "config.json",
                                   "generation_config.json", "model.safetensors",
                                   "special_tokens_map.json", "tokenizer.json",
                                   "tokenizer_config.json"}));
  const auto saved = open_model(folder / "saved");
  const auto original = open_model(golden("llama"));
  for (const std::string& name : original->names()) {
    EXPECT_EQ(read_all(*saved, name), read_all(*original, name)) << name;
  }
}

TEST(ModelSaver, AFullDiskLeavesTheEarlierModel) {
  const Source source;
  source.save();
  const std::string before = source.saved_text("model.safetensors");
  const auto files = names_in(source.saved());
  rlimit unlimited{};
  ::getrlimit(RLIMIT_FSIZE, &unlimited);
  rlimit small = unlimited;
  small.rlim_cur = 10'000;
  auto* handler = std::signal(SIGXFSZ, SIG_IGN);
  ::setrlimit(RLIMIT_FSIZE, &small);
  const std::string code = code_of([&] { source.save(); });
  ::setrlimit(RLIMIT_FSIZE, &unlimited);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(code, "S001");
  EXPECT_EQ(names_in(source.saved()), files);
  EXPECT_EQ(source.saved_text("model.safetensors"), before);
}

TEST(ModelSaver, WrongKindsOfSettingsAreErrorsNotCrashes) {
  for (const char* config :
       {R"({"rope_parameters": {"rope_type": 5, "rope_theta": 1}})",
        R"({"tie_word_embeddings": "x"})", R"({"rope_theta": 1, "rope_scaling": {"type": []}})"}) {
    Source source;
    source.file("config.json", config);
    EXPECT_EQ(code_of([&] { source.save(); }), "M248") << config;
  }
  Source source;
  source.file("blocked", "x");
  const auto model = open_model(source.path());
  EXPECT_EQ(code_of([&] { save_model(source.path() / "blocked/below", *model, {}, {}); }), "S010");
}

}  // namespace
}  // namespace sft
