// Tasks of lm-evaluation-harness, beside what it makes of them itself (tools/golden/eval_tasks.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "cli/run_sft.h"
#include "core/file_writer.h"
#include "core/json.h"
#include "support/paths.h"
#include "support/temporary_folder.h"

namespace sft {
namespace {

const fs::path kTasks = fs::path(SFT_TEST_DIR) / "run" / "tasks";

std::string at_root(const std::string& arguments) { return "--threads 2 -q " + arguments; }

// Runs at the root of the sources, where the tasks' data are named from.
RunResult eval(const std::string& arguments) {
  return run_sft("eval " + at_root(arguments), "-C " + (fs::path(SFT_TEST_DIR) / "..").string());
}

std::vector<Json> lines_of(const fs::path& file) {
  std::vector<Json> out;
  const std::string text = read_text(file);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    out.push_back(parse_json(text.substr(begin, end - begin), file.string()));
    begin = end + 1;
  }
  return out;
}

class Tasks : public ::testing::TestWithParam<std::string> {};

TEST_P(Tasks, EveryRowAndScoreIsThatOfTheHarness) {
  const Json expected = read_json(kTasks / "expected.json")[GetParam()];
  const bool chat = GetParam().ends_with("-chat");
  const std::string model = GetParam().substr(0, GetParam().find('-'));
  const TemporaryFolder out("tasks");
  std::string words = (fs::path(SFT_TEST_DIR) / "golden" / "models" / model).string() + " --tasks";
  for (const char* task : {"choice", "shots", "last_word", "written"}) {
    words += " " + (kTasks / task).string() + ".yaml";
  }
  const RunResult result = eval(words + (chat ? " --apply_chat_template" : "") + " --output_path " +
                                out.path().string());
  ASSERT_EQ(result.code, 0) << result.err;
  const Json found = read_json(out.path() / "results.json");
  for (const auto& [task, scores] : expected["results"].items()) {
    for (const auto& [name, value] : scores.items()) {
      const double wanted = value.get<double>();
      EXPECT_NEAR(found["results"][task][name].get<double>(), wanted, 1e-4 * std::abs(wanted))
          << task << " " << name;
    }
    const std::vector<Json> rows = lines_of(out.path() / ("samples_" + task + ".jsonl"));
    const Json& resps = expected["resps"][task];
    ASSERT_EQ(rows.size(), resps.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      EXPECT_EQ(rows[i]["context"], expected["contexts"][task][i]);
      ASSERT_EQ(rows[i]["resps"].size(), resps[i].size());
      for (size_t j = 0; j < resps[i].size(); ++j) {
        const Json& own = rows[i]["resps"][j];
        const Json& theirs = resps[i][j];
        if (theirs.is_string()) {
          EXPECT_EQ(own, theirs);
          continue;
        }
        EXPECT_NEAR(own[0].get<double>(), theirs[0].get<double>(), 2e-3) << task << " row " << i;
        EXPECT_EQ(own[1], theirs[1]);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Tasks, ::testing::Values("q2gqa", "q2gqa-chat", "l32", "l32-chat"),
                         [](const auto& tested) {
                           std::string name = tested.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(TaskFile, WhatIsNotReadIsRefusedByName) {
  const TemporaryFolder folder("task_file");
  const std::string whole = read_text(kTasks / "choice.yaml");
  const fs::path file = folder.path() / "task.yaml";
  const auto code_of = [&](const std::string& from, const std::string& to) {
    std::string text = whole;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    write_text(file, text);
    const RunResult result = eval((fs::path(SFT_TEST_DIR) / "golden/models/q2gqa").string() +
                                  " --tasks " + file.string());
    EXPECT_EQ(result.code == 2 || result.code == 3, true) << result.err;
    return result.err;
  };
  EXPECT_NE(
      code_of("output_type: multiple_choice", "output_type: loglikelihood_rolling").find("C240"),
      std::string::npos);
  EXPECT_NE(code_of("metric: acc\n", "metric: bleu\n").find("\"bleu\""), std::string::npos);
  EXPECT_NE(code_of("task: choice", "task: choice\nprocess_docs: !function utils.go").find("C240"),
            std::string::npos);
  EXPECT_NE(code_of("{{question}}", "{{qestion}}").find("D085"), std::string::npos);
  EXPECT_NE(code_of("doc_to_target: answer", "doc_to_target: 9").find("D086"), std::string::npos);
  EXPECT_NE(code_of("task: choice", "task: choice\nnum_fewshot: 3").find("first_n"),
            std::string::npos);
}

}  // namespace
}  // namespace sft
