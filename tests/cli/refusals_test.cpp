// What a run refuses, asked of each command that opens one: the same wrong input gets the same code
// from all that it concerns, and is no matter to the others.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <regex>

#include "cli/run_sft.h"
#include "core/json.h"

namespace sft {
namespace {

using Values = std::map<std::string, std::optional<std::string>>;  // flags; none: the flag alone

enum Command : unsigned { train = 1, dry_run = 2, inspect = 4, bench = 8, generate = 16 };
constexpr Command kCommands[] = {train, dry_run, inspect, bench, generate};
constexpr unsigned kRuns = train | dry_run;    // places, checkpoint, hub, memory
constexpr unsigned kRows = kRuns | inspect;    // data
constexpr unsigned kTexts = kRows | generate;  // tokenizer, template, weights
constexpr unsigned kModels = kTexts | bench;   // the model's shape

struct Wrong {
  const char* what;
  Values values;
  const char* code;
  unsigned concerns;
};

class Refusals : public ::testing::Test {
 protected:
  Refusals() {
    fs::remove_all(folder_);
    fs::create_directories(folder_ / "empty");
    std::ofstream rows(folder_ / "rows.jsonl");
    for (int i = 0; i < 40; ++i) {
      rows << fmt::format("{{\"text\": \"word{} word\"}}\n", i);
    }
    write("cut.jsonl", "{\"text\": \"a\"}\n{\"text\": \n");
    write("other.jsonl", "{\"foo\": 1}\n");
    write("none.jsonl", "");
    write("file", "x");
    write("preload.yaml", "env:\n  LD_PRELOAD: x\n");
    write("timeout.yaml", "env:\n  HF_HUB_ETAG_TIMEOUT: soon\n");
    write("cut.yaml", "a: [\n");
    write("loop.jinja", "{% for %}");
    model("good");
    model("unknown_family", [](Json& c) {
      c["architectures"] = Json::array({"NoSuchLM"});
      c["model_type"] = "nosuch";
    });
    model("negative", [](Json& c) { c["hidden_size"] = -3; });
    model("words", [](Json& c) { c["num_hidden_layers"] = "two"; });
    model("other_vocabulary", [](Json& c) { c["vocab_size"] = 4096; });
    model("few_positions", [](Json& c) { c["max_position_embeddings"] = 1; });
    model("quantised", [](Json& c) { c["quantization_config"] = {{"quant_method", "awq"}}; });
    model("in_4_bits", [](Json& c) {
      c["quantization_config"] = {{"quant_method", "bitsandbytes"}, {"load_in_4bit", true}};
    });
    model("in_small_tiles", [](Json& c) {
      c["quantization_config"] = {{"quant_method", "fp8"}, {"weight_block_size", {64, 64}}};
    });
    for (const char* file : {"config.json", "generation_config.json", "tokenizer.json"}) {
      model(fmt::format("cut_{}", file), {}, file, "{");
    }
    model("cut_weights", {}, "model.safetensors", "xx");
    model("cut_template", {}, "chat_template.jinja", "{% for %}");
    model("pointer", {}, "config.json",
          "version https://git-lfs.github.com/spec/v1\noid sha256:" + std::string(64, '0') +
              "\nsize 5\n");
    fs::remove(model("no_tokenizer") / "tokenizer.json");
    fs::remove(model("no_weights") / "model.safetensors");
  }
  ~Refusals() override { fs::remove_all(folder_); }

  void write(const fs::path& file, const std::string& text) const {
    fs::remove(folder_ / file);
    std::ofstream(folder_ / file) << text;
  }

  fs::path model(const std::string& name, const std::function<void(Json&)>& edit = {},
                 const std::string& file = "", const std::string& text = "") const {
    const fs::path to = folder_ / name;
    fs::copy(SFT_TEST_DIR "/golden/models/chatml", to);
    if (edit) {
      Json config = read_json(to / "config.json");
      edit(config);
      write(fs::path(name) / "config.json", to_text(config, 2));
    }
    if (!file.empty()) {
      write(fs::path(name) / file, text);
    }
    return to;
  }

  // The code of the error that the command ends with, "" where it ends well.
  std::string refused(Command command, const Values& wrong) const {
    Values values = {{"model_name_or_path", "good"}, {"use_cpu", std::nullopt}, {"threads", "1"}};
    std::string words;
    if (command == bench) {
      words = "bench --seq 4 --batch 1 --steps 1";
    } else if (command == generate) {
      words = "generate hi --max_new_tokens 1";
    } else {
      words = command == inspect ? "inspect" : command == dry_run ? "--dry_run" : "";
      values.insert({{"dataset_name", "rows.jsonl"}, {"output_dir", "out"}, {"max_steps", "1"}});
    }
    for (const auto& [name, value] : wrong) {
      values[name] = value;
    }
    for (const auto& [name, value] : values) {
      words += value == "" ? "" : fmt::format(" --{}", name);  // "": left out
      words += value && value != "" ? fmt::format(" '{}'", *value) : "";
    }
    fs::remove_all(folder_ / "out");
    const RunResult result =
        run_sft(words, fmt::format("-C {} HF_HUB_OFFLINE=1 HF_HOME={}", folder_.string(),
                                   (folder_ / "hf").string()));
    static const std::regex code("error ?\\[?([A-Z][0-9]{3})");
    std::smatch found;
    if (result.code == 0) {
      return "";
    }
    return std::regex_search(result.err, found, code) ? found[1].str() : result.err;
  }

  const fs::path folder_ = fs::temp_directory_path() / fmt::format("sft_refusals_{}", ::getpid());
};

TEST_F(Refusals, ARightRunIsTakenByEachCommand) {
  for (const Command command : kCommands) {
    EXPECT_EQ(refused(command, {}), "") << command;
  }
}

TEST_F(Refusals, TheSameWrongInputGetsTheSameCodeFromEachCommandThatItConcerns) {
  const auto named = [](const char* model) { return Values{{"model_name_or_path", model}}; };
  const Wrong kWrong[] = {
      {"no model", named(""), "C030", kModels},
      {"a model that is nowhere", named("nowhere"), "M305", kModels},
      {"a folder without a model", named("empty"), "M241", kModels},
      {"a model that is not in the cache", named("org/nowhere"), "M305", kModels},
      {"an unknown family", named("unknown_family"), "M031", kModels},
      {"a negative size", named("negative"), "M034", kModels},
      {"words for a number", named("words"), "M034", kModels},
      {"half a config.json", named("cut_config.json"), "M010", kModels},
      {"a pointer of git's", named("pointer"), "M213", kModels},
      {"weights of other sizes", named("other_vocabulary"), "M258", kTexts},
      {"half of generation_config.json", named("cut_generation_config.json"), "M010", kTexts},
      {"half a tokenizer", named("cut_tokenizer.json"), "M010", kTexts},
      {"half a template", named("cut_template"), "M150", kTexts},
      {"no tokenizer", named("no_tokenizer"), "M250", kTexts},
      {"no weights", named("no_weights"), "M242", kTexts},
      {"half the weights", named("cut_weights"), "M200", kTexts},
      {"quantised weights", named("quantised"), "M243", kTexts},
      {"rows longer than the model's positions", named("few_positions"), "M037", kRows},
      {"half a template of one's own", {{"chat_template_path", "loop.jinja"}}, "M150", kTexts},
      {"a key that config.json has not", {{"model_init_kwargs", "{\"nosuch\": 1}"}}, "C075", kRows},
      {"experts there are none of", {{"router_aux_loss_coef", "0.1"}}, "C079", kRows},
      {"a token that there is not", {{"pad_token", "<nosuch>"}}, "D075", kRows},
      {"no data", {{"dataset_name", ""}}, "C031", kRows},
      {"data that are nowhere", {{"dataset_name", "nowhere.jsonl"}}, "D001", kRows},
      {"half a row", {{"dataset_name", "cut.jsonl"}}, "D010", kRows},
      {"rows of another kind", {{"dataset_name", "other.jsonl"}}, "D030", kRows},
      {"no rows", {{"dataset_name", "none.jsonl"}}, "D048", kRows},
      {"no such split", {{"dataset_train_split", "nosuch"}}, "D008", kRows},
      {"no data to evaluate by", {{"eval_strategy", "epoch"}}, "D008", kRows},
      {"too few rows for a batch",
       {{"per_device_train_batch_size", "64"}, {"dataloader_drop_last", std::nullopt}},
       "D063",
       kRows},
      {"a variable that a recipe may not set", {{"config", "preload.yaml"}}, "C026", kRows},
      {"a variable that is no number", {{"config", "timeout.yaml"}}, "C110", kRows},
      {"half a recipe", {{"config", "cut.yaml"}}, "C021", kRows},
      {"an option there is not", {{"nosuch", "1"}}, "C001", kModels},
      {"two precisions", {{"fp16", std::nullopt}, {"bf16", std::nullopt}}, "C050", kRows | bench},
      {"4 bits of what is trained", {{"load_in_4bit", std::nullopt}}, "C200", kModels},
      {"a table that is trained in the host's memory",
       {{"offload_embeddings", std::nullopt}},
       "C203",
       kRuns | bench},
      {"float8 of what is trained", {{"base_dtype", "fp8"}}, "C200", kModels},
      {"4 bits and 8",
       {{"load_in_4bit", std::nullopt}, {"load_in_8bit", std::nullopt}},
       "C201",
       kRows | bench},
      {"4 bits and float8",
       {{"load_in_4bit", std::nullopt}, {"base_dtype", "fp8"}, {"use_peft", std::nullopt}},
       "C201",
       kRows},
      {"float8 of what is quantised",
       {{"model_name_or_path", "in_4_bits"}, {"base_dtype", "fp8"}, {"use_peft", std::nullopt}},
       "C201",
       kRows},
      {"a quantised model that is trained", named("in_4_bits"), "C200", kRuns},
      {"float8 in other tiles", named("in_small_tiles"), "C202", kTexts},
      {"no such optimizer", {{"optim", "nosuch"}}, "C006", kRows | bench},
      {"no such stage", {{"zero_stage", "9"}}, "C005", kRows | bench},
      {"a negative number of threads", {{"threads", "-4"}}, "C005", kModels},
      {"a file as folder", {{"output_dir", "file"}}, "S010", kRuns},
      {"a trace in no folder", {{"profile", "nowhere/x.json"}}, "S010", kRuns | bench},
      {"a checkpoint that is nowhere", {{"resume_from_checkpoint", "nowhere"}}, "M265", kRuns},
      {"a folder that is no checkpoint", {{"resume_from_checkpoint", "empty"}}, "M260", kRuns},
      {"a push without a token",
       {{"push_to_hub", std::nullopt}, {"hub_model_id", "a/b"}},
       "C115",
       kRuns},
  };
  for (const Wrong& wrong : kWrong) {
    for (const Command command : kCommands) {
      if ((wrong.concerns & command) != 0) {
        EXPECT_EQ(refused(command, wrong.values), wrong.code)
            << wrong.what << ", command " << command;
      }
    }
  }
}

TEST_F(Refusals, EveryWayToKeepTheBaseOfAdaptersIsTaken) {
  const Values ways[] = {{{"load_in_4bit", std::nullopt}},
                         {{"load_in_4bit", std::nullopt},
                          {"bnb_4bit_quant_type", "fp4"},
                          {"use_bnb_nested_quant", std::nullopt},
                          {"dtype", "bfloat16"}},
                         {{"load_in_8bit", std::nullopt}},
                         {{"base_dtype", "fp8"}},
                         {{"model_init_kwargs",
                           R"({"quantization_config": {"load_in_8bit": true,
                               "llm_int8_skip_modules": ["v_proj"]}})"}}};
  for (Values way : ways) {
    way["use_peft"] = std::nullopt;
    for (const Command command : {train, dry_run, inspect}) {
      EXPECT_EQ(refused(command, way), "") << way.begin()->first << ", command " << command;
    }
  }
}

TEST_F(Refusals, AChangeOfWhatMattersIsSaidBeforeTheRun) {
  const Values saved = {{"save_steps", "1"}};
  ASSERT_EQ(refused(train, saved), "");
  fs::rename(folder_ / "out", folder_ / "before");
  const auto resumed = [&](const char* rate) {
    return Values{{"resume_from_checkpoint", "before/checkpoint-1"}, {"learning_rate", rate}};
  };
  for (const Command command : {train, dry_run}) {
    EXPECT_EQ(refused(command, resumed("2e-05")), "");  // the default
    EXPECT_EQ(refused(command, resumed("0.5")), "C063");
    // And before the data are read.
    Values other_data = resumed("0.5");
    other_data["dataset_name"] = "cut.jsonl";
    EXPECT_EQ(refused(command, other_data), "C063");
    other_data["learning_rate"] = "2e-05";
    EXPECT_EQ(refused(command, other_data), "D010");
  }
}

// What changes the order of sums, or what a frozen base computes, is no less a change.
TEST_F(Refusals, AChangeOfHowAnAdapterIsComputedIsSaid) {
  const Values adapters = {
      {"use_peft", std::nullopt}, {"lora_dropout", "0"}, {"lora_target_modules", "all-linear"}};
  const auto with = [&](Values more) {
    more.insert(adapters.begin(), adapters.end());
    return more;
  };
  ASSERT_EQ(refused(train, with({{"save_steps", "1"}})), "");
  fs::rename(folder_ / "out", folder_ / "before");
  const auto resumed = [&](const std::string& name, const std::string& value) {
    return refused(dry_run,
                   with({{"resume_from_checkpoint", "before/checkpoint-1"}, {name, value}}));
  };
  EXPECT_EQ(resumed("mlp_tile", "0"), "");  // the default
  EXPECT_EQ(resumed("mlp_tile", "32"), "C063");
  EXPECT_EQ(resumed("base_dtype", "fp8"), "C063");
  EXPECT_EQ(resumed("model_init_kwargs",
                    R"({"quantization_config": {"load_in_8bit": true, "llm_int8_threshold": 5}})"),
            "C063");
}

// Whether rows are tokenised first or made while training runs.
TEST_F(Refusals, OneLetterOfOneRowIsAChangeOfTheData) {
  for (const int count : {300, 6000}) {
    const auto rows = [&](int changed) {
      std::string text;
      for (int i = 0; i < count; ++i) {
        text += fmt::format("{{\"text\": \"word{} {}\"}}\n", i, i == changed ? "wolf" : "word");
      }
      write("many.jsonl", text);
    };
    rows(-1);
    ASSERT_EQ(refused(train, {{"save_steps", "1"}, {"dataset_name", "many.jsonl"}}), "");
    const fs::path before = folder_ / fmt::format("before-{}", count);
    fs::rename(folder_ / "out", before);
    const Values resumed = {{"resume_from_checkpoint", (before / "checkpoint-1").string()},
                            {"dataset_name", "many.jsonl"}};
    EXPECT_EQ(refused(dry_run, resumed), "") << count;
    for (const int changed : {0, 131, count - 2}) {
      rows(changed);
      EXPECT_EQ(refused(dry_run, resumed), "C063") << changed << " of " << count;
    }
  }
}

// Notes and steps are those of the run, which may have several ranks.
TEST_F(Refusals, WhatIsPlannedIsWhatWouldRun) {
  const std::string two =
      "RANK=0 WORLD_SIZE=2 LOCAL_RANK=0 LOCAL_WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29999";
  const std::string words =
      "--model good --dataset_name rows.jsonl --output_dir out --use_cpu --threads 1 --json "
      "--per_gpu_train_batch_size 4";
  for (const auto& [variables, steps] : {std::pair{std::string("A=1"), 10}, {two, 5}}) {
    const std::string around = fmt::format("-C {} {}", folder_.string(), variables);
    const RunResult plan = run_sft("--dry_run " + words, around);
    const RunResult shown = run_sft("inspect --limit 0 " + words, around);
    ASSERT_EQ(plan.code + shown.code, 0) << plan.err << shown.err;
    EXPECT_EQ(parse_json(plan.out, "plan").at("steps_per_epoch"), steps);
    EXPECT_EQ(parse_json(shown.out, "rows").at("statistics").at("steps_per_epoch"), steps);
    const std::string note = "per_gpu_train_batch_size";
    EXPECT_NE(plan.err.find(note), std::string::npos) << plan.err;
    EXPECT_NE(shown.err.find(note), std::string::npos) << shown.err;
  }
}

// What is no matter of theirs does not keep people from looking at their rows.
TEST_F(Refusals, RowsAreShownWhereverARunWouldWrite) {
  for (const Values& values :
       {Values{{"output_dir", "file"}}, Values{{"resume_from_checkpoint", "nowhere"}},
        Values{{"push_to_hub", std::nullopt}, {"hub_model_id", "a/b"}}}) {
    EXPECT_EQ(refused(inspect, values), "");
  }
}

}  // namespace
}  // namespace sft
