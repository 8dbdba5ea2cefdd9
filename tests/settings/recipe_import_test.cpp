// Recipes of Axolotl and LLaMA-Factory as ours: what a key does is the same, and nothing is dropped
// without a word.
#include "settings/recipe_import.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "settings/train_options.h"

namespace sft {
namespace {

bool left_out(const ImportedRecipe& recipe, const std::string& key) {
  for (const LeftOut& left : recipe.left_out) {
    if (left.key == key && !left.why.empty()) {
      return true;
    }
  }
  return false;
}

std::string code_of(const std::string& text) {
  try {
    import_recipe(text, "r.yml");
  } catch (const Error& e) {
    return std::string(e.code().text());
  }
  return "";
}

constexpr const char* kQlora = R"(
base_model: m
load_in_4bit: true
datasets:
  - path: rows.jsonl
    type: alpaca
val_set_size: 0.1
adapter: qlora
lora_model_dir:
sequence_len: 2048
sample_packing: true
lora_r: 32
lora_alpha: 16
lora_target_linear: true
micro_batch_size: 2
num_epochs: 4
optimizer: adamw_bnb_8bit
lr_scheduler: cosine
learning_rate: 0.0002
bf16: auto
gradient_checkpointing: true
flash_attention: true
loss_watchdog_threshold: 5.0
evals_per_epoch: 4
saves_per_epoch: 1
special_tokens:
  pad_token: "<pad>"
  unk_token: "<unk>"
)";

TEST(RecipeImport, AxolotlsKeysBecomeOurs) {
  const ImportedRecipe r = import_recipe(kQlora, "r.yml");
  EXPECT_EQ(r.program, "Axolotl");
  const Json& o = r.options;
  EXPECT_EQ(o["model_name_or_path"], "m");
  EXPECT_EQ(o["dataset_name"], "rows.jsonl");
  EXPECT_EQ(o["test_split_size"], 0.1);
  EXPECT_EQ(o["use_peft"], true);
  EXPECT_EQ(o["load_in_4bit"], true);
  EXPECT_EQ(o["lora_target_modules"], "all-linear");
  EXPECT_EQ(o["max_length"], 2048);
  EXPECT_EQ(o["packing"], true);
  EXPECT_EQ(o["per_device_train_batch_size"], 2);
  EXPECT_EQ(o["num_train_epochs"], 4);
  EXPECT_EQ(o["optim"], "adamw_bnb_8bit");
  EXPECT_EQ(o["eval_strategy"], "steps");
  EXPECT_DOUBLE_EQ(o["eval_steps"].get<double>(), 1.0 / 16);  // a share of all steps
  EXPECT_EQ(o["save_strategy"], "epoch");
  EXPECT_EQ(o["pad_token"], "<pad>");
  EXPECT_EQ(o["completion_only_loss"], true);
}

TEST(RecipeImport, DefaultsThatAreNotOursAreWrittenOut) {
  const Json a = import_recipe("base_model: m\nadapter: lora\n", "r.yml").options;
  EXPECT_EQ(a["num_train_epochs"], 1);
  EXPECT_EQ(a["per_device_train_batch_size"], 1);
  EXPECT_EQ(a["lr_scheduler_type"], "cosine");
  EXPECT_EQ(a["warmup_ratio"], 0.03);
  EXPECT_EQ(a["lora_dropout"], 0.0);
  EXPECT_EQ(a["gradient_checkpointing"], false);
  EXPECT_EQ(a["bf16"], false);
  const Json l = import_recipe("stage: sft\nfinetuning_type: lora\n", "r.yml").options;
  EXPECT_EQ(l["lora_r"], 8);
  EXPECT_EQ(l["lora_alpha"], 16);
  EXPECT_EQ(l["lora_dropout"], 0.0);
  EXPECT_EQ(l["lora_target_modules"], "all-linear");
  EXPECT_EQ(l["max_length"], 2048);
  EXPECT_EQ(l["learning_rate"], 5e-5);
  EXPECT_EQ(l["gradient_checkpointing"], true);
  EXPECT_EQ(l["assistant_only_loss"], true);
}

// Every key is an option of ours or stands among what was left out, with a reason.
TEST(RecipeImport, NoKeyIsDroppedWithoutAWord) {
  const ImportedRecipe r = import_recipe(
      "base_model: m\nno_such_key: 1\nflash_attention: true\nplugins: [x]\nstrict: false\n"
      "chat_template: chatml\ntest_datasets: [{path: x}]\nlr_scheduler: rex\n"
      "datasets: [{path: a, type: {field_output: b}, shards: 3}]\n",
      "r.yml");
  for (const char* key : {"no_such_key", "flash_attention", "plugins", "strict", "chat_template",
                          "test_datasets", "lr_scheduler", "datasets: type", "datasets: shards"}) {
    EXPECT_TRUE(left_out(r, key)) << key;
  }
}

TEST(RecipeImport, ConversationsTrainTheAssistantAsAxolotlDoes) {
  const Json o =
      import_recipe(
          "base_model: m\ndatasets: [{path: a, type: chat_template, field_messages: talk, "
          "message_property_mappings: {role: from, content: value}}]\n",
          "r.yml")
          .options;
  EXPECT_EQ(o["assistant_only_loss"], true);
  EXPECT_EQ(o["messages_field"], "talk");
  EXPECT_EQ(o["message_role_key"], "from");
  EXPECT_EQ(o["message_content_key"], "value");
  EXPECT_FALSE(import_recipe("base_model: m\ntrain_on_inputs: true\ndatasets: [{path: a, type: "
                             "chat_template}]\n",
                             "r.yml")
                   .options.value("assistant_only_loss", false));
}

TEST(RecipeImport, SeveralDataSetsAreAMixture) {
  const Json o = import_recipe(
                     "base_model: m\ndatasets: [{path: a, name: x, split: train, type: alpaca}, "
                     "{path: b, type: alpaca}]\n",
                     "r.yml")
                     .options;
  EXPECT_EQ(o["datasets"].dump(), R"([{"path":"a","name":"x","split":"train"},{"path":"b"}])");
  EXPECT_FALSE(o.contains("dataset_name"));
}

TEST(RecipeImport, LlamaFactorysRegistryIsRead) {
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / "sft_registry";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "dataset_info.json") << R"({
    "mine": {"file_name": "mine.json", "formatting": "sharegpt", "columns": {"messages": "talk"},
             "tags": {"role_tag": "who", "content_tag": "what", "system_tag": "sys"}},
    "hub": {"hf_hub_url": "a/b", "subset": "s", "split": "train"}})";
  const std::string base = "stage: sft\ndataset_dir: " + folder.string() + "\ndataset: ";
  const ImportedRecipe r = import_recipe(base + "mine\nmax_samples: 100\n", "r.yml");
  EXPECT_EQ(r.options["dataset_name"], (folder / "mine.json").string());
  EXPECT_EQ(r.options["messages_field"], "talk");
  EXPECT_EQ(r.options["message_role_key"], "who");
  EXPECT_EQ(r.options["dataset_train_split"], "train[:100]");
  EXPECT_TRUE(left_out(r, "dataset_info.json: mine: tags: system_tag"));
  const Json hub = import_recipe(base + "hub\n", "r.yml").options;
  EXPECT_EQ(hub["dataset_name"], "a/b");
  EXPECT_EQ(hub["dataset_config"], "s");
  EXPECT_TRUE(left_out(import_recipe(base + "other\n", "r.yml"), "dataset"));
  EXPECT_EQ(import_recipe(base + "mine, hub\n", "r.yml").options["datasets"].size(), 2U);
}

TEST(RecipeImport, TheTextIsARecipeThatIsTaken) {
  for (const std::string& text :
       {std::string(kQlora),
        std::string("stage: sft\nmodel_name_or_path: m\nfinetuning_type: full\n"
                    "dataset: x\nlora_target: q_proj,v_proj\nquantization_bit: 4\n"
                    "lr_scheduler_type: cosine\nwarmup_ratio: 0.1\nbf16: true\nddp_timeout: "
                    "180000000\n")}) {
    const ImportedRecipe r = import_recipe(text, "r.yml");
    TrainOptions options;
    OptionTable table;
    options.visit(table);
    ParsedOptions parsed;
    parse_yaml_options(table, recipe_text(r, "r.yml"), "ours.yaml", parsed);
    for (const auto& [name, value] : r.options.items()) {
      EXPECT_TRUE(parsed.is_set(name)) << name;
    }
  }
}

TEST(RecipeImport, WhatIsNoSuchRecipeIsRefused) {
  EXPECT_THROW(import_recipe_file("/nowhere/r.yml"), Error);
  EXPECT_EQ(code_of("learning_rate: 1e-4\n"), "C083");
  EXPECT_EQ(code_of("- a\n- b\n"), "C083");
  EXPECT_EQ(code_of("a: [\n"), "C083");
  EXPECT_EQ(code_of("base_model: m\nrl: dpo\n"), "C084");
  EXPECT_EQ(code_of("stage: rm\n"), "C084");
  EXPECT_EQ(code_of("base_model: m\nbase_model: n\n"), "C024");
}

}  // namespace
}  // namespace sft
