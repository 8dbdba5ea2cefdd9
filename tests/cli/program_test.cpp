// The program from outside: streams, exit codes, help, configuration.
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <map>
#include <set>

#include "cli/run_sft.h"
#include "comm/communicator.h"
#include "core/file_writer.h"
#include "core/json.h"
#include "core/strings.h"
#include "support/paths.h"

namespace sft {
namespace {

TEST(Program, VersionAndHelpGoToStdout) {
  const RunResult version = run_sft("--version");
  EXPECT_EQ(version.code, 0);
  EXPECT_TRUE(version.out.starts_with("sft "));
  EXPECT_EQ(version.err, "");
  for (const char* flag : {"-h", "--help", "help options", "help data", "help exit-codes"}) {
    const RunResult help = run_sft(flag);
    EXPECT_EQ(help.code, 0) << flag;
    EXPECT_GT(help.out.size(), 200u) << flag;
    EXPECT_EQ(help.err, "") << flag;
    EXPECT_EQ(help.out.find_first_of("\x1b\r"), std::string::npos) << flag;
    for (const std::string& line : split(help.out, '\n')) {
      EXPECT_LE(line.size(), 100u) << line;
    }
  }
  EXPECT_LE(std::ranges::count(run_sft("-h").out, '\n'), 40);
}

TEST(Program, HelpAmongOtherOptionsIsHelp) {
  EXPECT_EQ(run_sft("--max_steps 3 --help").code, 0);
  EXPECT_EQ(run_sft("--max_steps 3 --help").out, run_sft("--help").out);
}

TEST(Program, BenchSweepsOverBatchSizes) {
  const RunResult run =
      run_sft("bench --model " SFT_TEST_DIR
              "/../examples/tiny-model --seq 16 --steps 1 --use_cpu --threads 1 --sweep --json");
  ASSERT_EQ(run.code, 0) << run.err;
  const Json rows = parse_json(run.out, "the sweep");
  ASSERT_GE(rows.size(), 3u);  // two that are no faster end it
  int64_t batch = 1;
  for (const Json& row : rows) {
    EXPECT_EQ(row.at("batch"), batch);
    EXPECT_EQ(row.at("gradient_checkpointing"), "none");
    EXPECT_GT(row.at("tokens_per_s").get<double>(), 0.0);
    batch *= 2;
  }
}

TEST(Program, BenchRunsOnSeveralRanksAtAnyStage) {
  if (!gloo_built()) {
    GTEST_SKIP() << "ranks on CPUs need Gloo";
  }
  std::set<double> losses;
  for (const char* stage : {"0", "1", "2", "3"}) {
    const RunResult run =
        run_sft("launch --nproc_per_node 2 bench --model " SFT_TEST_DIR
                "/../examples/tiny-model --seq 16 --batch 2 --steps 2 --use_cpu --threads 1 --json "
                "--zero_stage " +
                std::string(stage));
    ASSERT_EQ(run.code, 0) << run.err;
    const Json result = parse_json(run.out, "the figures");
    EXPECT_EQ(result.at("ranks"), 2);
    EXPECT_GT(result.at("tokens_per_s").get<double>(), 0.0);
    losses.insert(result.at("loss").get<double>());
  }
  EXPECT_EQ(losses.size(), 1u);
}

// Seconds of CPU time that a program takes; wall time would measure who else is busy.
double cpu_seconds(const char* program, const char* argument) {
  const pid_t child = fork();
  if (child == 0) {
    const int sink = open("/dev/null", O_WRONLY);
    dup2(sink, STDOUT_FILENO);
    execl(program, program, argument, nullptr);
    _exit(127);
  }
  int status = 0;
  rusage usage{};
  wait4(child, &status, 0, &usage);
  EXPECT_EQ(status, 0);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

TEST(Program, HelpIsFast) {
#ifdef SFT_SANITIZED
  GTEST_SKIP() << "sanitizers take longer to start";
#endif
  // On a machine that is slow just now, by what it needs to start any program.
  double any = 1.0;
  for (int i = 0; i < 50; ++i) {
    any = std::min(any, cpu_seconds("/bin/true", nullptr));
  }
  const double bound = std::max(0.010, 25 * any);
  for (const char* argument : {"--help", "-h", "--version"}) {
    double best = 1.0;
    for (int i = 0; i < 200 && best >= bound; ++i) {
      best = std::min(best, cpu_seconds(SFT_BINARY, argument));
    }
    EXPECT_LT(best, bound) << argument;
  }
}

TEST(Program, MistakesAreOneErrorOnStderrWithCode2) {
  const RunResult r = run_sft("config --lerning_rate 1");
  EXPECT_EQ(r.code, 2);
  EXPECT_EQ(r.out, "");
  EXPECT_EQ(r.err,
            "error[C001]: unknown option --lerning_rate\nhint: did you mean  --learning_rate?\n");
  EXPECT_EQ(run_sft("confg").err,
            "error[C009]: there is no command \"confg\"\nhint: did you mean  sft config?\n");
  EXPECT_EQ(run_sft("confg").code, 2);
  EXPECT_EQ(run_sft("help dta").code, 2);
  EXPECT_EQ(run_sft("env --yaml").code, 2);
}

TEST(Program, ColorFollowsTheConventions) {
  const auto colored = [](const std::string& arguments, const std::string& environment) {
    return run_sft(arguments, environment).err.find("\x1b[31m") != std::string::npos;
  };
  EXPECT_FALSE(colored("config --x", "TERM=xterm"));  // not a terminal
  EXPECT_TRUE(colored("config --x", "CLICOLOR_FORCE=1"));
  EXPECT_TRUE(colored("config --x", "FORCE_COLOR=1 TERM=dumb"));
  EXPECT_FALSE(colored("config --x", "CLICOLOR_FORCE=0"));
  EXPECT_FALSE(colored("config --x", "NO_COLOR=1 CLICOLOR_FORCE=1"));
  EXPECT_TRUE(colored("config --x --color always", "NO_COLOR=1"));
  EXPECT_FALSE(colored("config --x --color=never", "CLICOLOR_FORCE=1"));
  EXPECT_TRUE(colored("config --x", "NO_COLOR= CLICOLOR_FORCE=1"));  // empty does not count
}

TEST(Program, ConfigReadsItsOwnOutput) {
  const fs::path file = fs::temp_directory_path() / ("sft_recipe_" + std::to_string(getpid()));
  const RunResult first = run_sft(
      "config --dataset_config 0625 --lr_scheduler_type cosine_with_min_lr --lr_scheduler_kwargs "
      "'{\"min_lr\": 0}' --eval_strategy no --learning_rate 3e-7 --bf16 false --seed 7");
  ASSERT_EQ(first.code, 0) << first.err;
  EXPECT_EQ(first.err, "");
  write_text(file, first.out);
  const RunResult second = run_sft("config --config " + file.string());
  EXPECT_EQ(second.out, first.out) << second.err;
  EXPECT_EQ(run_sft("config --config=" + file.string()).out, first.out);
  const RunResult flags_win = run_sft("config --seed 8 --json --config " + file.string());
  const Json json = Json::parse(flags_win.out);
  EXPECT_EQ(json["seed"], 8);
  EXPECT_EQ(json["dataset_config"], "0625");
  EXPECT_FALSE(json.contains("color"));
  fs::remove(file);
}

TEST(Program, YamlMistakesNameTheLine) {
  const fs::path file = fs::temp_directory_path() / ("sft_bad_" + std::to_string(getpid()));
  write_text(file, "seed: 1\n\nmax_lenght: 3\n");
  const RunResult r = run_sft("config --config " + file.string());
  EXPECT_EQ(r.code, 2);
  EXPECT_EQ(r.err, "error[C022]: unknown key max_lenght\n  --> " + file.string() +
                       ":3\nhint: did you mean  max_length?\n");
  fs::remove(file);
}

TEST(Program, NotesAreQuietable) {
  EXPECT_NE(run_sft("config --max_seq_length 5").err.find("now --max_length"), std::string::npos);
  EXPECT_EQ(run_sft("config --max_seq_length 5 -q").err, "");
  EXPECT_EQ(run_sft("config --bf16 false --do_train").err, "");
  EXPECT_NE(run_sft("config --bf16 false --do_train -v").err.find("--do_train has no effect"),
            std::string::npos);
}

TEST(Program, TokenizeCountsOrPrintsIds) {
  const fs::path file = fs::temp_directory_path() / ("sft_lines_" + std::to_string(getpid()));
  const std::string command =
      "tokenize --model " SFT_TEST_DIR "/../examples/tiny-model --file " + file.string();
  write_text(file, "The miller\r\n\nThe miller");
  const RunResult counts = run_sft(command);
  EXPECT_TRUE(counts.out.starts_with("3 texts, 20 bytes, ")) << counts.out << counts.err;
  EXPECT_EQ(counts.err, "");
  const RunResult ids = run_sft(command + " --json --spans --threads 2");
  const std::vector<std::string> lines = split(ids.out, '\n');
  ASSERT_EQ(lines.size(), 4u) << ids.out << ids.err;
  EXPECT_EQ(lines[0], lines[2]);
  EXPECT_EQ(lines[1], R"({"ids": [], "spans": []})");
  const Json first = Json::parse(lines[0]);
  EXPECT_EQ(first["ids"].size(), first["spans"].size());
  EXPECT_EQ(first["spans"].back(), Json::array({first["spans"].back()[0], 10}));
  EXPECT_TRUE(run_sft(command + " --whole").out.starts_with("1 texts, 23 bytes, "));
  write_text(file, "good\nbad \xFF\n");
  const RunResult bad = run_sft(command);
  EXPECT_EQ(bad.code, 4);
  EXPECT_NE(bad.err.find("--> " + file.string() + ":2\n"), std::string::npos) << bad.err;
  EXPECT_EQ(run_sft("tokenize --file x").code, 2);
  fs::remove(file);
}

TEST(Program, EnvIsTextOrJson) {
  const RunResult text = run_sft("env");
  EXPECT_EQ(text.code, 0);
  EXPECT_NE(text.out.find("cpu "), std::string::npos);
  const Json json = Json::parse(run_sft("env --json").out);
  EXPECT_EQ(json["v"], 1);
  EXPECT_GE(json["cpu"]["threads_used"].get<int>(), 1);
}

// Outside of training a signal ends the program at once, and no file has been begun.
TEST(Program, SignalsEndBenchAndGenerateAtOnce) {
  const fs::path trace = fs::temp_directory_path() / ("sft_trace_" + std::to_string(getpid()));
  // With more positions than a second is enough for.
  const fs::path longer = fs::temp_directory_path() / ("sft_longer_" + std::to_string(getpid()));
  const std::string model = longer.string();
  fs::copy(SFT_TEST_DIR "/../examples/tiny-model", longer);
  Json config = Json::parse(read_text(longer / "config.json"));
  config["max_position_embeddings"] = 100000;
  std::ofstream(longer / "config.json") << config.dump();
  const std::string commands[] = {
      "bench --use_cpu --threads 1 --model " + model + " --seq 64 --steps 100000000 --profile " +
          trace.string(),
      "generate --use_cpu --threads 1 --model " + model + " --max_new_tokens 90000 --prompt a"};
  for (const std::string& command : commands) {
    for (const auto& [name, code] : {std::pair("INT", 130), std::pair("TERM", 143)}) {
      const auto begun = std::chrono::steady_clock::now();
      const RunResult ended =
          run_sft(command, std::string("--default-signal=INT,TERM timeout -k 20 -s ") + name +
                               " --preserve-status 0.3");
      EXPECT_EQ(ended.code, code) << command << ended.err;
      EXPECT_NE(ended.err.find("stopped"), std::string::npos) << command << ended.err;
      EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(10));
      EXPECT_FALSE(fs::exists(trace));
    }
  }
  fs::remove_all(longer);
}

// To accept a change: build/sft config --markdown > docs/options.md
// One template refuses system messages and drops reasoning; what inspect says is what training
// does.
TEST(Program, InspectSaysWhatTrainingDoes) {
  const fs::path work = fs::temp_directory_path() / ("sft_inspect_" + std::to_string(getpid()));
  fs::create_directories(work);
  std::ofstream(work / "strict.jinja")
      << "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}"
         "{% endif %}<{{ m.role }}>{{ m.content.split('</think>')[-1] }}\n{% endfor %}";
  const auto write = [&](const std::string& first, const std::string& second) {
    std::ofstream(work / "rows.jsonl") << first << "\n" << second << "\n";
  };
  const std::string plain =
      R"({"messages": [{"role": "user", "content": "Two and two?"}, {"role": "assistant", "content": "Four."}]})";
  const std::string common = "--model '" SFT_TEST_DIR "/../examples/tiny-model' --dataset_name '" +
                             (work / "rows.jsonl").string() + "' --chat_template_path '" +
                             (work / "strict.jinja").string() + "' --output_dir '" +
                             (work / "out").string() + "' ";
  write(
      plain,
      R"({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Two and two?"}, {"role": "assistant", "content": "Four."}]})");
  const RunResult shown = run_sft("inspect --stats false " + common);
  EXPECT_EQ(shown.code, 0) << shown.err;
  EXPECT_NE(shown.out.find("training stops at this row: D055"), std::string::npos) << shown.out;
  EXPECT_EQ(shown.out.find("leaves this row out"), std::string::npos) << shown.out;
  EXPECT_EQ(run_sft("--max_steps 1 " + common).code, 3);
  EXPECT_EQ(run_sft("inspect " + common).code, 3);

  const std::string thinking =
      R"({"messages": [{"role": "user", "content": "Two and two?"}, {"role": "assistant", "content": "<think>I take two twice and add.</think>Four."}]})";
  write(thinking, plain);
  const RunResult lost = run_sft("inspect --stats false " + common);
  EXPECT_NE(lost.out.find("lost in the rendering: the <think> block of message 2 (assistant)"),
            std::string::npos)
      << lost.out;
  const RunResult trained = run_sft("--max_steps 1 --save_strategy no " + common);
  EXPECT_EQ(trained.code, 0) << trained.err;
  EXPECT_NE(trained.err.find("in 1 of 2 rows the chat template leaves reasoning out"),
            std::string::npos)
      << trained.err;
  write(plain, plain);
  const RunResult none = run_sft("--max_steps 1 --save_strategy no " + common);
  EXPECT_EQ(none.err.find("reasoning"), std::string::npos) << none.err;
  fs::remove_all(work);
}

TEST(Program, GenerateIsQuietOrVerbose) {
  const std::string command =
      "generate --model '" SFT_TEST_DIR "/../examples/tiny-model' --max_new_tokens 2 --use_cpu hi";
  const RunResult usual = run_sft(command), quiet = run_sft(command + " -q"),
                  verbose = run_sft(command + " -v");
  EXPECT_EQ(usual.code + quiet.code + verbose.code, 0) << usual.err << quiet.err << verbose.err;
  EXPECT_EQ(usual.out, verbose.out);
  EXPECT_EQ(usual.out, quiet.out);
  EXPECT_EQ(quiet.err, "");
  EXPECT_NE(verbose.err.find("prompt tokens"), std::string::npos) << verbose.err;
  EXPECT_EQ(usual.err.find("prompt tokens"), std::string::npos) << usual.err;
}

// Each answers as it does alone, whatever answered before it.
TEST(Program, SeveralAdaptersAnswerByTheirNames) {
  const fs::path folder = fs::temp_directory_path() / ("sft_adapters_" + std::to_string(getpid()));
  const std::string golden = SFT_TEST_DIR "/golden";
  const std::string model = golden + "/models/chatml";
  for (const char* name : {"a", "b"}) {
    const RunResult run = run_sft(fmt::format(
        "--model_name_or_path '{}' --dataset_name '{}/data/text' --do_train --use_peft --use_cpu "
        "--lora_target_modules all-linear --learning_rate 0.1 --lora_dropout 0 --max_steps 6 "
        "--seed {} --save_strategy no --output_dir '{}'",
        model, golden, name[0] == 'a' ? 1 : 2, (folder / name).string()));
    ASSERT_EQ(run.code, 0) << run.err;
  }
  const auto answer = [&](const std::string& arguments) {
    const RunResult run =
        run_sft("generate --use_cpu --json --max_new_tokens 8 --prompt 'the word' " + arguments);
    EXPECT_EQ(run.code, 0) << run.err;
    return Json::parse(run.out);
  };
  const std::string a = "a='" + (folder / "a").string() + "'";
  const std::string b = "b='" + (folder / "b").string() + "'";
  std::map<std::string, Json> alone = {{"a", answer("--adapter '" + (folder / "a").string() + "'")},
                                       {"b", answer("--adapter '" + (folder / "b").string() + "'")},
                                       {"base", answer("--model '" + model + "'")}};
  EXPECT_NE(alone["a"]["text"], alone["b"]["text"]);
  EXPECT_NE(alone["a"]["text"], alone["base"]["text"]);
  const std::vector<std::string> order = {"b", "base", "a", "b"};
  const Json answers =
      answer(fmt::format("--adapter {} --adapter={} --active {}", a, b, fmt::join(order, " ")));
  ASSERT_EQ(answers.size(), order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    EXPECT_EQ(answers[i]["adapter"], order[i]);
    EXPECT_EQ(answers[i]["text"], alone[order[i]]["text"]) << order[i];
  }
  EXPECT_EQ(answer(fmt::format("--adapter {} --adapter {}", a, b)).size(), 2);  // all of them
  const RunResult unknown =
      run_sft(fmt::format("generate hi --use_cpu --adapter {} --adapter {} --active c", a, b));
  EXPECT_NE(unknown.err.find("C198"), std::string::npos) << unknown.err;
  fs::remove_all(folder);
}

TEST(Program, ABaseInFloat8OnACpuSaysWhatItIs) {
  const fs::path out = fs::temp_directory_path() / ("sft_float8_" + std::to_string(getpid()));
  const auto said = [&](const std::string& flags) {
    const RunResult run = run_sft(fmt::format(
        "--model_name_or_path '{0}/models/chatml' --dataset_name '{0}/data/text' --do_train "
        "--use_peft --use_cpu --max_steps 1 --save_strategy no --output_dir '{1}' {2}",
        SFT_TEST_DIR "/golden", out.string(), flags));
    EXPECT_EQ(run.code, 0) << run.err;
    return run.err.find("what the codes stand for is multiplied, in float32") != std::string::npos;
  };
  EXPECT_TRUE(said("--base_dtype fp8"));
  EXPECT_FALSE(said(""));
  EXPECT_FALSE(said("--load_in_4bit"));
  fs::remove_all(out);
}

TEST(Program, GenerateKnowsTheNamesOfOtherTools) {
  for (const auto& [other, ours] :
       {std::pair{"--max_tokens 5", "--max_new_tokens?"}, std::pair{"--temp 0.5", "--temperature?"},
        std::pair{"--frobnicate", "--help lists all options"}}) {
    const RunResult run = run_sft(std::string("generate --model x hi ") + other);
    EXPECT_EQ(run.code, 2) << run.err;
    EXPECT_NE(run.err.find(ours), std::string::npos) << run.err;
  }
}

TEST(Program, NamesOfOtherToolsGetTheNameTheyHaveHere) {
  const auto hint = [](const std::string& arguments) {
    const RunResult run = run_sft("config " + arguments);
    EXPECT_EQ(run.code, 2) << arguments;
    return run.err.substr(std::min(run.err.find("hint:"), run.err.size()));
  };
  EXPECT_NE(hint("--lr 1e-4").find("--learning_rate?"), std::string::npos);
  EXPECT_NE(hint("--micro-batch-size 4").find("--per-device-train-batch-size?"), std::string::npos);
  EXPECT_NE(hint("--early_stopping_patience 3").find("--eval_strategy steps"), std::string::npos);
  EXPECT_NE(hint("--finetuning_type lora").find("adapters"), std::string::npos);
  EXPECT_NE(hint("--nproc_per_node 8").find("sft launch --nproc_per_node"), std::string::npos);
  EXPECT_NE(hint("--learning_rat 1").find("--learning_rate?"), std::string::npos);
  const fs::path recipe = fs::temp_directory_path() / ("sft_axolotl_" + std::to_string(getpid()));
  std::ofstream(recipe) << "base_model: org/model\n";
  EXPECT_NE(hint("--config '" + recipe.string() + "'").find("model_name_or_path?"),
            std::string::npos);
  std::ofstream(recipe) << "model: org/model\n";
  EXPECT_NE(run_sft("config --config '" + recipe.string() + "'")
                .out.find("model_name_or_path: "
                          "org/model"),
            std::string::npos);
  const RunResult both = run_sft("config --model org/model --eval_strategy no");
  EXPECT_EQ(both.err, "");  // a short name, not an older one
  fs::remove(recipe);
}

// A clone without `git lfs pull` has three lines of text in place of its large files.
TEST(Program, GitLfsPointersAreRecognised) {
  const std::string pointer =
      "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\n"
      "size 988097824\n";
  const fs::path repository = fs::path(SFT_TEST_DIR).parent_path();
  const fs::path work = fs::temp_directory_path() / ("sft_lfs_" + std::to_string(getpid()));
  const auto refused = [&](const std::string& model, const std::string& data, int code,
                           const std::string& more = "") {
    const RunResult run =
        run_sft("--dry_run --model '" + model + "' --dataset_name '" + data + "' " + more,
                "HF_HUB_OFFLINE=1");
    EXPECT_EQ(run.code, code) << model << " " << data << "\n" << run.err;
    EXPECT_NE(run.err.find("is a git-LFS pointer"), std::string::npos) << run.err;
    EXPECT_NE(run.err.find("lfs pull"), std::string::npos) << run.err;
    EXPECT_NE(run.err.find("942.3 MiB"), std::string::npos) << run.err;
  };
  const std::string rows = (repository / "examples/data/shapes/completion.jsonl").string();
  for (const char* file : {"model.safetensors", "tokenizer.json", "config.json",
                           "tokenizer_config.json", "generation_config.json"}) {
    fs::remove_all(work);
    fs::create_directories(work);
    fs::copy(repository / "examples/tiny-model", work / "model", fs::copy_options::recursive);
    std::ofstream(work / "model" / file, std::ios::trunc) << pointer;
    refused((work / "model").string(), rows, 4);
  }
  for (const char* file : {"chat_template.jinja", "additional_chat_templates/tools.jinja"}) {
    fs::remove_all(work / "templates");
    fs::create_directories((work / "templates" / file).parent_path());
    std::ofstream(work / "templates" / file) << pointer;
    refused((repository / "examples/tiny-model").string(), rows, 4,
            "--chat_template_path '" + (work / "templates").string() + "'");
  }
  std::ofstream(work / "model.gguf") << pointer;
  refused((work / "model.gguf").string(), rows, 4);
  for (const char* file : {"rows.jsonl", "rows.json", "rows.parquet", "rows.arrow", "rows.csv",
                           "rows.txt", "rows.jsonl.gz"}) {
    std::ofstream(work / file) << pointer;
    refused((repository / "examples/tiny-model").string(), (work / file).string(), 3);
  }
  fs::create_directories(work / "folder");
  std::ofstream(work / "folder/train-00000-of-00001.parquet") << pointer;
  refused((repository / "examples/tiny-model").string(), (work / "folder").string(), 3);
  fs::remove_all(work);
}

TEST(Program, TheOptionsPageIsFresh) {
  EXPECT_EQ(run_sft("config --markdown").out, read_text(SFT_TEST_DIR "/../docs/options.md"));
}

// To accept a change: put what build/sft models --markdown prints into docs/models.md.
TEST(Models, the_page_has_the_table_of_families_and_the_command_marks_what_fits) {
  const std::string table = run_sft("models --markdown").out;
  EXPECT_NE(read_text(SFT_TEST_DIR "/../docs/models.md").find(table), std::string::npos) << table;
  const std::string marked = run_sft("models").out;
  for (const char* type : {"llama", "gemma2", "phi3", "cohere2"}) {
    EXPECT_NE(marked.find(type), std::string::npos);
    EXPECT_NE(table.find(std::string("`") + type + "`"), std::string::npos);
  }
  EXPECT_NE(marked.find("adapters on a base of 4 bits: up to"), std::string::npos);
  EXPECT_NE(run_sft("models --json").err.find("error[C001]"), std::string::npos);
}

// To accept a change: build/sft explain --markdown > docs/errors.md
TEST(Program, TheErrorsPageIsFresh) {
  EXPECT_EQ(run_sft("explain --markdown").out, read_text(SFT_TEST_DIR "/../docs/errors.md"));
}

TEST(Program, ExplainTellsACodeHoweverItIsWritten) {
  const RunResult said = run_sft("explain M265");
  EXPECT_EQ(said.code, 0) << said.err;
  EXPECT_NE(said.out.find("the checkpoint is not there"), std::string::npos) << said.out;
  EXPECT_NE(said.out.find("exit code 4"), std::string::npos) << said.out;
  EXPECT_EQ(run_sft("explain m265").out, said.out);
  EXPECT_EQ(run_sft("explain 'error[M265]:'").out, said.out);
  EXPECT_NE(run_sft("explain").out.find("M265"), std::string::npos);
  for (const char* none : {"explain M999", "explain Q001", "explain ''", "explain M2651"}) {
    const RunResult refused = run_sft(none);
    EXPECT_EQ(refused.code, 2) << none << refused.err;
    EXPECT_NE(refused.err.find("error[C011]"), std::string::npos) << none << refused.err;
    EXPECT_EQ(refused.out, "") << none;
  }
}

// To accept a change: build/sft help deepspeed > docs/deepspeed.md
TEST(Program, TheDeepSpeedPageIsFresh) {
  EXPECT_EQ(run_sft("help deepspeed").out, read_text(SFT_TEST_DIR "/../docs/deepspeed.md"));
}

}  // namespace
}  // namespace sft
