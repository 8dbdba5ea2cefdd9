// `sft check`: each fault is found, and nothing else is; what is sound is called so; what can be
// made right is right afterwards. What it says of transformers, tests/peers/check.py compares.
#include "run/check/check.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <tuple>

#include "cli/run_sft.h"
#include "core/file_writer.h"
#include "core/json.h"
#include "io/gguf/file.h"
#include "run/broken_folders.h"
#include "support/paths.h"
#include "support/temporary_folder.h"

namespace sft {
namespace {

const fs::path kRoot = fs::path(SFT_TEST_DIR) / "..";

RunResult train(const fs::path& model, const fs::path& out, const std::string& more = "") {
  return run_sft(fmt::format(
      "train --model_name_or_path {} --dataset_name {}/examples/data/ostrafell --output_dir {} "
      "--max_steps 1 --save_strategy no --threads 1 -q {}",
      model.string(), kRoot.string(), out.string(), more));
}

// One sound folder for all tests, gone with them.
const fs::path& sound() {
  static const TemporaryFolder folder("check_sound");
  static const fs::path path = [] {
    const fs::path to = folder.path() / "model";
    const RunResult run = train(kRoot / "examples/tiny-model", to);
    EXPECT_EQ(run.code, 0) << run.err;
    return to;
  }();
  return path;
}

std::vector<std::string> ids(const CheckResult& result) {
  std::vector<std::string> out;
  for (const Finding& finding : result.findings) {
    out.push_back(finding.id);
  }
  return out;
}

TEST(Check, EachFaultIsFoundAndNothingElse) {
  const TemporaryFolder folder("check_broken");
  testing::make_broken_folders(sound(), folder.path());
  ASSERT_GE(testing::faults().size(), 30u);
  for (const testing::Fault& fault : testing::faults()) {
    const CheckResult result = check_model(folder.path() / fault.name, true);
    EXPECT_EQ(ids(result), std::vector<std::string>{fault.name});
    for (const Finding& finding : result.findings) {
      EXPECT_FALSE(finding.what.empty() || finding.change.empty() || finding.where.empty());
      EXPECT_NE(finding.worst(), Effect::sound) << finding.id;
    }
  }
}

TEST(Check, WhatCanBeMadeRightIsRightAfterwards) {
  const TemporaryFolder folder("check_fixed");
  testing::make_broken_folders(sound(), folder.path());
  int fixed = 0;
  for (const testing::Fault& fault : testing::faults()) {
    const fs::path broken = folder.path() / fault.name;
    const CheckResult before = check_model(broken, false);
    if (before.findings.empty() || before.findings[0].fix.empty()) {
      EXPECT_TRUE(fix_model(broken, before.findings).empty());
      continue;
    }
    EXPECT_FALSE(fix_model(broken, before.findings).empty());
    EXPECT_EQ(ids(check_model(broken, false)), std::vector<std::string>{}) << fault.name;
    ++fixed;
  }
  EXPECT_GE(fixed, 15);
}

TEST(Check, QuantisedWeightsAreRefusedByThoseWhoDoNotTakeThem) {
  const TemporaryFolder folder("check_quantised");
  for (const auto& [type, method, refuse] :
       std::vector<std::tuple<const char*, const char*, std::vector<Reader>>>{
           {"gpt_oss", "mxfp4", {}},
           {"qwen3", "mxfp4", {Reader::llama_cpp, Reader::ollama, Reader::mlx}},
           {"qwen3", "gptq", {Reader::ollama}},
           {"qwen3", "awq", {Reader::llama_cpp, Reader::ollama}},
           {"qwen3", "bitsandbytes", {Reader::llama_cpp, Reader::ollama, Reader::mlx}}}) {
    const fs::path to = folder.path() / fmt::format("{}-{}", type, method);
    fs::copy(sound(), to, fs::copy_options::recursive);
    Json config = read_json(to / "config.json");
    config["model_type"] = type;
    config["quantization_config"] = {{"quant_method", method}};
    write_text(to / "config.json", config.dump());
    std::vector<Reader> found;
    for (const Finding& finding : check_model(to, true).findings) {
      if (finding.id == "quantised") {
        for (const auto& [reader, effect] : finding.effects) {
          EXPECT_EQ(effect, Effect::refuses);
          found.push_back(reader);
        }
      }
    }
    EXPECT_EQ(found, refuse) << type << " " << method;
  }
}

TEST(Check, WhatIsSoundIsCalledSo) {
  const TemporaryFolder folder("check_whole");
  std::vector<fs::path> models{sound()};
  for (const char* name : {"chatml", "gemma", "l32", "q2gqa", "smol", "windowed"}) {
    models.push_back(folder.path() / name);
    const RunResult run = train(kRoot / "tests/golden/models" / name, models.back());
    ASSERT_EQ(run.code, 0) << run.err;
  }
  models.push_back(folder.path() / "shards");
  ASSERT_EQ(train(kRoot / "examples/tiny-model", models.back(), "--max_shard_size 100KB").code, 0);
  models.push_back(folder.path() / "adapter");
  ASSERT_EQ(train(kRoot / "examples/tiny-model", models.back(), "--use_peft").code, 0);
  models.push_back(folder.path() / "model.gguf");
  const RunResult exported = run_sft(fmt::format("export {} --quant f16 --output {} -q",
                                                 sound().string(), models.back().string()));
  ASSERT_EQ(exported.code, 0) << exported.err;
  ASSERT_EQ(models.size(), 10u);
  for (const fs::path& model : models) {
    EXPECT_EQ(ids(check_model(model, true)), std::vector<std::string>{}) << model;
  }

  // Faults of an adapter, and of a GGUF file.
  const fs::path adapter = folder.path() / "adapter";
  const std::string config = read_text(adapter / "adapter_config.json");
  const auto with = [&](const char* key, const Json& value) {
    Json changed = parse_json(config, "adapter_config.json");
    changed[key] = value;
    write_text(adapter / "adapter_config.json", to_text(changed));
    return ids(check_model(adapter, false));
  };
  EXPECT_EQ(with("r", 3), std::vector<std::string>{"adapter-rank"});
  EXPECT_EQ(with("base_model_name_or_path", "/nowhere/at/all"),
            std::vector<std::string>{"adapter-base"});
  EXPECT_EQ(with("target_modules", Json::array({"q_proj"})),
            std::vector<std::string>{"adapter-targets"});
  EXPECT_EQ(with("peft_type", Json()), std::vector<std::string>{"adapter-kind"});
  const std::string gguf = read_text(models.back());
  write_text(models.back(), gguf.substr(0, gguf.size() - 100));
  EXPECT_EQ(ids(check_model(models.back(), false)), std::vector<std::string>{"gguf-damaged"});
}

TEST(Check, TheCommandSaysForWhomAndEndsAccordingly) {
  const RunResult whole = run_sft("check " + sound().string());
  EXPECT_EQ(whole.code, 0) << whole.out;
  EXPECT_NE(whole.out.find("transformers 4  sound"), std::string::npos);
  const TemporaryFolder folder("check_command");
  fs::copy(sound(), folder.path() / "m", fs::copy_options::recursive);
  Json config = read_json(folder.path() / "m/config.json");
  config["vocab_size"] = 7;
  write_text(folder.path() / "m/config.json", to_text(config));
  const std::string name = (folder.path() / "m").string();
  const RunResult broken = run_sft("check --json " + name);
  EXPECT_EQ(broken.code, 4);
  const Json said = parse_json(broken.out, "sft check");
  EXPECT_EQ(said["findings"][0]["id"], "vocab-size");
  EXPECT_EQ(said["readers"]["vLLM"], "refuses");
  EXPECT_EQ(run_sft("check --fix " + name).code, 0);
  EXPECT_EQ(run_sft("check /nowhere/at/all").code, 2);
}

}  // namespace
}  // namespace sft
