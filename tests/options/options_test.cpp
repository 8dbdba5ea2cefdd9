#include "options/options.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "core/error.h"
#include "core/file.h"
#include "core/file_writer.h"
#include "options/parser.h"
#include "options/text.h"
#include "options/values.h"

namespace sft {
namespace {

struct Sample {
  bool packing = false;
  bool pin = true;
  std::optional<bool> bf16;
  int64_t seed = 42;
  std::optional<int64_t> max_length = 1024;
  double learning_rate = 2e-5;
  std::optional<double> eval_steps;
  std::string strategy = "no";
  std::string recompute = "auto";
  std::optional<std::string> name;
  std::vector<std::string> modules;
  Json kwargs;
  std::string optim = "adamw";
  bool fp16 = false;
  int64_t workers = 0;
  int64_t verbose = 0;
  std::optional<std::string> multiple;
  std::string even;

  void visit(OptionTable& v) {
    v.group("First");
    v("packing", &packing, "Pack.");
    v("pin", &pin, "Pin.");
    v("bf16", &bf16, "Use bf16.");
    v("seed", &seed, "Seed.").at_least(0);
    v("max_length", &max_length, "Length.").above(0).alias("max_seq_length", "the default changed");
    v("learning_rate", &learning_rate, "Rate.").at_least(0);
    v("eval_steps", &eval_steps, "Steps.");
    v("strategy", &strategy, "When.").one_of({"no", "steps", "epoch"});
    v.group("Second");
    v("recompute", &recompute, "How.").one_of({"true", "false", "auto", "block"}).bare("true");
    v("name", &name, "Name.");
    v("modules", &modules, "Layers.");
    v("kwargs", &kwargs, "More.");
    v("optim", &optim, "Which.")
        .one_of({"adamw", "adamw_fused", "lion"})
        .built_only({"adamw_fused"}, "only AdamW is");
    v("fp16", &fp16, "Half.").planned("it belongs to GPUs");
    v("workers", &workers, "Workers.").inert("there are none");
    v("verbose", &verbose, "Say more.").short_name('v').only_on_command_line();
    v("multiple", &multiple, "Auto or a number.").one_of({"auto"}).or_whole(1, 16);
    v("even", &even, "An even number of letters.").read_by([](const std::string& text) {
      if (text.size() % 2 != 0) {
        throw Error("C999", "odd");
      }
    });
  }
};

struct Result {
  Sample sample;
  ParsedOptions parsed;
};

Result parse(std::vector<std::string> args) {
  Result r;
  OptionTable table;
  r.sample.visit(table);
  r.parsed = parse_options(table, args);
  return r;
}

Result parse_yaml(const std::string& text) {
  Result r;
  OptionTable table;
  r.sample.visit(table);
  parse_yaml_options(table, text, "recipe.yaml", r.parsed);
  check_built(table, r.parsed);
  return r;
}

// "C004 at hint" of the failure, or "" when there is none.
template <class Run>
std::string failure(Run run) {
  try {
    run();
  } catch (const Error& e) {
    return std::string(e.code().text()) + (e.where().empty() ? "" : " " + e.where()) +
           (e.hint().empty() ? "" : " | " + e.hint());
  }
  return "";
}

std::string cli_failure(std::vector<std::string> args) {
  return failure([&] { parse(args); });
}

std::string yaml_failure(const std::string& text) {
  return failure([&] { parse_yaml(text); });
}

TEST(CommandLine, BothSpellingsAndBothForms) {
  EXPECT_EQ(*parse({"--max_length", "7"}).sample.max_length, 7);
  EXPECT_EQ(*parse({"--max-length", "7"}).sample.max_length, 7);
  EXPECT_EQ(*parse({"--max_length=7"}).sample.max_length, 7);
  EXPECT_EQ(*parse({"--max-length=7"}).sample.max_length, 7);
  EXPECT_EQ(*parse({"--name=a=b"}).sample.name, "a=b");
}

TEST(CommandLine, LastOccurrenceWins) {
  EXPECT_EQ(parse({"--seed", "1", "--seed=2", "--seed", "3"}).sample.seed, 3);
  EXPECT_FALSE(parse({"--packing", "--no_packing"}).sample.packing);
}

TEST(CommandLine, Booleans) {
  EXPECT_TRUE(parse({"--packing"}).sample.packing);
  EXPECT_TRUE(parse({"--packing", "--bf16"}).sample.packing);
  EXPECT_TRUE(parse({"--packing", "YES"}).sample.packing);
  EXPECT_FALSE(parse({"--pin", "false"}).sample.pin);
  EXPECT_FALSE(parse({"--pin=0"}).sample.pin);
  EXPECT_FALSE(parse({"--no-pin"}).sample.pin);
  EXPECT_FALSE(parse({"--no_pin"}).sample.pin);
  EXPECT_EQ(cli_failure({"--no_pin=true"}), "C004");
  EXPECT_EQ(cli_failure({"--packing", "maybe"}), "C004");
}

TEST(CommandLine, OptionalBooleansNeedNoValue) {
  EXPECT_FALSE(parse({}).sample.bf16.has_value());
  EXPECT_TRUE(parse({"--bf16"}).sample.bf16.value());
  EXPECT_TRUE(parse({"--bf16", "true"}).sample.bf16.value());
  EXPECT_FALSE(parse({"--bf16", "False"}).sample.bf16.value());
  EXPECT_FALSE(parse({"--no_bf16"}).sample.bf16.value());
  EXPECT_FALSE(parse({"--bf16", "--bf16=none"}).sample.bf16.has_value());
}

TEST(CommandLine, WordsWithABareForm) {
  EXPECT_EQ(parse({"--recompute"}).sample.recompute, "true");
  EXPECT_EQ(parse({"--recompute", "--packing"}).sample.recompute, "true");
  EXPECT_EQ(parse({"--recompute", "block"}).sample.recompute, "block");
  EXPECT_EQ(parse({"--recompute", "False"}).sample.recompute, "false");
  EXPECT_EQ(parse({"--no_recompute"}).sample.recompute, "false");
}

TEST(CommandLine, Numbers) {
  EXPECT_EQ(parse({"--learning_rate", "1e-3"}).sample.learning_rate, 1e-3);
  EXPECT_EQ(parse({"--learning_rate", ".5"}).sample.learning_rate, 0.5);
  EXPECT_EQ(parse({"--seed", "+5"}).sample.seed, 5);
  EXPECT_FALSE(parse({"--max_length", "None"}).sample.max_length.has_value());
  EXPECT_EQ(cli_failure({"--seed", "-1"}), "C005");
  EXPECT_EQ(cli_failure({"--max_length", "0"}), "C005");
  for (const char* bad : {"1.5", "x", "", "1e3", "none"}) {
    EXPECT_EQ(cli_failure({"--seed", bad}), "C004") << bad;
  }
  for (const char* bad : {"nan", "inf", "2e-5x"}) {
    EXPECT_EQ(cli_failure({"--learning_rate", bad}), "C004") << bad;
  }
}

TEST(CommandLine, EveryNumberHasARange) {
  for (const char* beyond : {"2147483648", "9223372036854775807", "99999999999999999999", "-1"}) {
    EXPECT_EQ(cli_failure({"--seed", beyond}), "C005") << beyond;
  }
  for (const char* beyond : {"1e31", "1e999", "-1e999", "-1"}) {
    EXPECT_EQ(cli_failure({"--learning_rate", beyond}), "C005") << beyond;
    EXPECT_EQ(cli_failure({"--eval_steps", beyond}), "C005") << beyond;
  }
  EXPECT_EQ(parse({"--learning_rate", "1e-999"}).sample.learning_rate, 0.0);
}

TEST(CommandLine, AWordMayBeANumberOrOfAKindOfItsOwn) {
  EXPECT_EQ(*parse({"--multiple", "auto"}).sample.multiple, "auto");
  EXPECT_EQ(*parse({"--multiple", "16"}).sample.multiple, "16");
  for (const char* bad : {"17", "0", "x", "", "1.5"}) {
    EXPECT_EQ(cli_failure({"--multiple", bad}), "C006") << bad;
  }
  EXPECT_EQ(parse({"--even", "xx"}).sample.even, "xx");
  EXPECT_EQ(cli_failure({"--even", "xxx"}), "C999");
  EXPECT_EQ(yaml_failure("a: 1\neven: xxx\n"), "C022 recipe.yaml:1 | --help lists all options");
  EXPECT_EQ(yaml_failure("even: xxx\n"), "C999 recipe.yaml:1");
}

TEST(CommandLine, ListsAndDicts) {
  EXPECT_EQ(parse({"--modules", "q_proj", "v_proj", "--packing"}).sample.modules.size(), 2u);
  EXPECT_EQ(parse({"--modules", "all-linear"}).sample.modules[0], "all-linear");
  EXPECT_EQ(parse({"--modules=[\"a\", \"b\"]"}).sample.modules.size(), 2u);
  EXPECT_TRUE(parse({"--modules", "a", "--modules", "none"}).sample.modules.empty());
  const Json kwargs =
      parse({"--kwargs", R"({"min_lr": 0, "a": "1e-6", "b": {"c": "True"}})"}).sample.kwargs;
  EXPECT_EQ(kwargs["min_lr"], 0);
  EXPECT_EQ(kwargs["a"], 1e-6);
  EXPECT_EQ(kwargs["b"]["c"], true);
  EXPECT_TRUE(parse({"--kwargs", "null"}).sample.kwargs.is_null());
  EXPECT_TRUE(cli_failure({"--kwargs", "{min_lr: 0}"}).starts_with("C007"));
  EXPECT_EQ(cli_failure({"--kwargs", "no-such-file.json"}), "C008");
}

TEST(CommandLine, StringsKeepWhatTheyAre) {
  EXPECT_EQ(parse({"--name", "no"}).sample.name.value(), "no");
  EXPECT_EQ(parse({"--name", "0625"}).sample.name.value(), "0625");
  EXPECT_EQ(parse({"--name", ""}).sample.name.value(), "");
  EXPECT_EQ(parse({"--name", "-1"}).sample.name.value(), "-1");
}

TEST(CommandLine, MistakesNameTheWayOut) {
  EXPECT_EQ(cli_failure({"--learning-rat", "1"}), "C001 | did you mean  --learning-rate?");
  EXPECT_EQ(cli_failure({"--lerning_rate", "1"}), "C001 | did you mean  --learning_rate?");
  EXPECT_EQ(cli_failure({"--max_seq_lenght", "1"}), "C001 | did you mean  --max_seq_length?");
  EXPECT_EQ(cli_failure({"--learn", "1"}), "C001 | did you mean  --learning_rate?");
  EXPECT_EQ(cli_failure({"--zzzzzzzzzzzz"}), "C001 | --help lists all options");
  EXPECT_EQ(cli_failure({"--no_seed"}).substr(0, 4), "C001");
  EXPECT_EQ(cli_failure({"-x"}).substr(0, 4), "C001");
  EXPECT_EQ(cli_failure({"stray"}).substr(0, 4), "C002");
  EXPECT_EQ(cli_failure({"--seed"}).substr(0, 4), "C003");
  EXPECT_EQ(cli_failure({"--seed", "--packing"}).substr(0, 4), "C003");
  EXPECT_EQ(cli_failure({"--config"}).substr(0, 4), "C003");
  EXPECT_EQ(cli_failure({"--config", "no-such.yaml"}), "C020");
  EXPECT_EQ(cli_failure({"--strategy", "epochs"}), "C006 | did you mean  epoch?");
}

TEST(CommandLine, CountsShortFlags) {
  EXPECT_EQ(parse({"-v", "-v"}).sample.verbose, 2);
  EXPECT_EQ(parse({"-vv"}).sample.verbose, 2);
  EXPECT_EQ(parse({"--verbose"}).sample.verbose, 1);
  EXPECT_EQ(parse({"--verbose", "3"}).sample.verbose, 3);
}

TEST(CommandLine, OlderNamesSayWhatChanged) {
  const Result r = parse({"--max_seq_length", "9"});
  EXPECT_EQ(*r.sample.max_length, 9);
  ASSERT_EQ(r.parsed.notes.size(), 1u);
  EXPECT_EQ(r.parsed.notes[0], "--max_seq_length is now --max_length: the default changed");
  EXPECT_TRUE(r.parsed.is_set("max_length"));
}

TEST(Status, WhatIsNotBuiltIsRefused) {
  EXPECT_EQ(cli_failure({"--fp16"}), "C010 | what works: --fp16 false");
  EXPECT_EQ(cli_failure({"--fp16", "false"}), "");
  EXPECT_EQ(cli_failure({"--fp16", "--no_fp16"}), "");
  EXPECT_EQ(cli_failure({"--optim", "lion"}), "C010 | what works: adamw_fused");
  EXPECT_EQ(cli_failure({"--optim", "adamw_fused"}), "");
  EXPECT_EQ(yaml_failure("seed: 1\nfp16: true\n"), "C010 recipe.yaml:2 | what works: --fp16 false");
}

TEST(Status, WhatHasNoMeaningIsSaid) {
  const Result r = parse({"--workers", "4"});
  ASSERT_EQ(r.parsed.inert.size(), 1u);
  EXPECT_EQ(r.parsed.inert[0], "--workers has no effect here: there are none");
  EXPECT_TRUE(parse({}).parsed.inert.empty());
}

TEST(Yaml, Version11Quirks) {
  const Result r = parse_yaml(
      "strategy: no\n"
      "learning_rate: 2e-5\n"
      "packing: yes\n"
      "pin: off\n"
      "bf16: on\n"
      "name: 0625\n"
      "max_length: null\n"
      "recompute: no\n"
      "kwargs: {min_lr_rate: 0.1, flag: yes, word: 'yes', list: [1, 2e-3]}\n"
      "modules: [q_proj, v_proj]\n");
  EXPECT_EQ(r.sample.strategy, "no");
  EXPECT_EQ(r.sample.learning_rate, 2e-5);
  EXPECT_TRUE(r.sample.packing);
  EXPECT_FALSE(r.sample.pin);
  EXPECT_TRUE(r.sample.bf16.value());
  EXPECT_EQ(r.sample.name.value(), "0625");
  EXPECT_FALSE(r.sample.max_length.has_value());
  EXPECT_EQ(r.sample.recompute, "false");
  EXPECT_EQ(r.sample.kwargs["min_lr_rate"], 0.1);
  EXPECT_EQ(r.sample.kwargs["flag"], true);
  EXPECT_EQ(r.sample.kwargs["word"], "yes");
  EXPECT_EQ(r.sample.kwargs["list"][1], 2e-3);
  EXPECT_EQ(r.sample.modules.size(), 2u);
}

TEST(Yaml, EnvAndEmptyFiles) {
  const Result r = parse_yaml("env:\n  WANDB_PROJECT: mine\n  HF_HUB_OFFLINE: 1\nseed: 3\n");
  ASSERT_EQ(r.parsed.env.size(), 2u);
  EXPECT_EQ(r.parsed.env[0].second, "mine");
  ASSERT_EQ(r.parsed.notes.size(), 2u);
  EXPECT_EQ(r.parsed.notes[0], "recipe.yaml:2: the recipe sets WANDB_PROJECT to mine");
  EXPECT_EQ(r.parsed.env[1].second, "1");
  EXPECT_EQ(parse_yaml("").sample.seed, 42);
  EXPECT_EQ(parse_yaml("# nothing\n").sample.seed, 42);
}

TEST(Yaml, ARecipeCannotRunCodeNorRedirectATokenNorSayWhatIsRead) {
  for (const char* name : {"LD_PRELOAD",
                           "LD_LIBRARY_PATH",
                           "LD_AUDIT",
                           "HF_ENDPOINT",
                           "HTTPS_PROXY",
                           "https_proxy",
                           "ALL_PROXY",
                           "no_proxy",
                           "PATH",
                           "HOME",
                           "HF_HOME",
                           "HF_HUB_CACHE",
                           "HF_TOKEN",
                           "HF_TOKEN_PATH",
                           "HUGGING_FACE_HUB_TOKEN",
                           "WANDB_API_KEY",
                           "WANDB_BASE_URL",
                           "SFT_TOKEN",
                           "SFT_CACHE",
                           "SFT_CUDNN",
                           "SSL_CERT_FILE",
                           "CURL_CA_BUNDLE",
                           "REQUESTS_CA_BUNDLE",
                           "TMPDIR",
                           "XDG_CACHE_HOME",
                           "PYTHONPATH",
                           "NCCL_NET_PLUGIN",
                           "NCCL_TUNER_PLUGIN",
                           "NCCL_TOPO_FILE",
                           "NCCL_CONF_FILE",
                           "NCCL_DEBUG_FILE",
                           "MASTER_ADDR",
                           "RANK",
                           "WORLD_SIZE",
                           "SLURM_PROCID",
                           "KUBEFLOW_TRAINER_SERVER_URL",
                           "OPENSSL_MODULES",
                           "OPENSSL_CONF",
                           "GCONV_PATH",
                           "CUDA_MODULE_LOADING_LIBRARY",
                           "GLIBC_TUNABLES",
                           "AWS_SECRET_ACCESS_KEY",
                           "RES_OPTIONS",
                           "LOCALDOMAIN",
                           "HOSTALIASES",
                           "BASH_ENV",
                           "PAGER",
                           "UNKNOWN",
                           "wandb_project",
                           "\"A B\""}) {
    EXPECT_EQ(yaml_failure(fmt::format("seed: 1\nenv:\n  {}: x\n", name)).substr(0, 18),
              "C026 recipe.yaml:3")
        << name;
  }
  EXPECT_EQ(yaml_failure("env: {WANDB_PROJECT: \"a\\0b\"}\n"), "C025 recipe.yaml:1");
}

TEST(Yaml, ARecipeInTheHubsCacheNamesNothingOfThisMachine) {
  const fs::path root = fs::path(testing::TempDir()) / fmt::format("sft_recipe_{}", ::getpid());
  const fs::path snapshot = root / "models--a--b" / "snapshots" / "0123";
  fs::create_directories(snapshot);
  fs::create_directories(root / "models--a--b" / "blobs");
  const auto code = [&](const fs::path& recipe, const std::string& text) {
    write_text(recipe, text);
    return cli_failure({"--config", recipe.string()}).substr(0, 4);
  };
  for (const char* text : {"name: /etc/passwd\n", "name: ~/notes\n", "name: a/../../b\n",
                           "modules: [a, /b]\n", "kwargs: {a: [{b: ../c}]}\n"}) {
    EXPECT_EQ(code(snapshot / "r.yaml", text), "D080") << text;
    EXPECT_EQ(code(root / "r.yaml", text), "") << text;
  }
  EXPECT_EQ(code(snapshot / "r.yaml", "name: org/data\nmodules: [a..b, c]\n"), "");
  fs::remove_all(root);
}

TEST(Yaml, MistakesNameFileAndLine) {
  EXPECT_EQ(yaml_failure("seed: 1\nlearning_rat: 1\n"),
            "C022 recipe.yaml:2 | did you mean  learning_rate?");
  EXPECT_EQ(yaml_failure("\n\nseed: x\n"), "C004 recipe.yaml:3");
  EXPECT_EQ(yaml_failure("seed:\n"), "C023 recipe.yaml:1");
  EXPECT_EQ(yaml_failure("seed: [1, 2]\n"), "C004 recipe.yaml:1");
  EXPECT_EQ(yaml_failure("seed: {a: 1}\n"), "C004 recipe.yaml:1");
  EXPECT_EQ(yaml_failure("modules: [[a]]\n"), "C023 recipe.yaml:1");
  EXPECT_EQ(yaml_failure("seed: 1\nseed: 2\n"), "C024 recipe.yaml:2");
  EXPECT_EQ(yaml_failure("env: 3\n"), "C025 recipe.yaml:1");
  EXPECT_EQ(yaml_failure("env:\n  WANDB_NAME: [1]\n"), "C025 recipe.yaml:2");
  EXPECT_EQ(yaml_failure("env: {'': x}\n"), "C025 recipe.yaml:1");
  EXPECT_EQ(yaml_failure("- a\n- b\n"), "C021 recipe.yaml:1");
  EXPECT_EQ(yaml_failure("seed: 1\n---\nseed: 2\n"), "C021 recipe.yaml:3");
  EXPECT_EQ(yaml_failure("kwargs: &x {a: *x}\n"), "C023 recipe.yaml:1");
  EXPECT_EQ(yaml_failure("kwargs:\n  a: 1\n  b: {c: 1,\n      c: 2}\n"), "C024 recipe.yaml:4");
  EXPECT_EQ(yaml_failure("kwargs:\n  [a]: 1\n"), "C023 recipe.yaml:2");
  EXPECT_EQ(yaml_failure("seed: [1\n").substr(0, 4), "C021");
  EXPECT_EQ(yaml_failure("verbose: 1\n"), "C022 recipe.yaml:1");
  EXPECT_EQ(yaml_failure("config: other.yaml\n"), "C022 recipe.yaml:1");
  EXPECT_EQ(yaml_failure("strategy: step\n"), "C006 recipe.yaml:1 | did you mean  steps?");
}

TEST(Text, ResolvedYamlReadsBackTheSame) {
  Sample a = parse({"--name", "it's: a #test", "--kwargs", R"({"min_lr": 1e-6})", "--modules", "a",
                    "1", "--learning_rate", "1e-7", "--bf16", "--strategy", "no", "--recompute"})
                 .sample;
  OptionTable table;
  a.visit(table);
  const Sample b = parse_yaml(yaml_text(table)).sample;
  EXPECT_EQ(option_values(a), option_values(b));
  EXPECT_EQ(yaml_text(table).find("verbose"), std::string::npos);
}

TEST(Text, HelpNamesEveryWorkingOption) {
  Sample sample;
  OptionTable table;
  sample.visit(table);
  const std::string text = help_text(table, {80, false});
  for (const Option& option : table.options()) {
    const bool listed = option.name != "fp16" && option.name != "workers";
    EXPECT_EQ(text.find("--" + option.name) != std::string::npos, listed) << option.name;
  }
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(text.find("lion"), std::string::npos);
}

}  // namespace
}  // namespace sft
