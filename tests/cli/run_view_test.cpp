// A run's lines as people read them, the shells' completions and the manual page.
#include "cli/run_view.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>

#include <regex>

#include "cli/command_list.h"
#include "cli/run_sft.h"
#include "core/fd.h"
#include "core/json.h"
#include "core/strings.h"
#include "support/paths.h"
#include "support/temporary_folder.h"

namespace sft {
namespace {

const Json kLog{{"k", "log"},          {"step", 123456},
                {"loss", 1.23456789},  {"grad_norm", 12.3456789},
                {"epoch", 0.123456},   {"learning_rate", 1.23456e-5},
                {"tokens_per_s", 1e6}, {"mean_token_accuracy", 0.987654321}};

TEST(RunLine, FitsAnyWidthAndLosesWhatMattersLeastFirst) {
  for (int width = 30; width < 200; ++width) {
    const std::string line = run_line(kLog, 200000, width);
    EXPECT_LT(line.size(), static_cast<size_t>(width));
    EXPECT_TRUE(line.starts_with("step 123456/200000")) << line;
  }
  EXPECT_EQ(run_line(kLog, 200000, 80),
            "step 123456/200000  loss 1.235  grad 12.35  lr 1.235e-05  1.0M tok/s");
  EXPECT_EQ(run_line({{"k", "dev"}, {"step", 1}}, 0, 80), "");
  EXPECT_EQ(run_line({{"k", "log"}, {"step", 1}, {"loss", nullptr}}, 0, 80),
            "step 1  loss not finite");
}

TEST(BlockCurve, ShowsTheCourseInSoManyCells) {
  EXPECT_EQ(block_curve({1, 2, 3, 4, 5, 6, 7, 8}, 8, true), "▁▂▃▄▅▆▇█");
  EXPECT_EQ(block_curve({8, 8, 1, 1}, 2, false), "\"_");
  EXPECT_EQ(block_curve({5, 5, 5}, 3, true), "▁▁▁");
  EXPECT_EQ(block_curve({1}, 8, true), "");
  EXPECT_EQ(block_curve({1, NAN, 2}, 8, true), "▁█");
}

// What a run prints on a terminal of so many columns.
std::string on_terminal(int columns, const std::string& environment, const std::string& folder) {
  winsize size{24, static_cast<unsigned short>(columns), 0, 0};
  int screen = -1;
  const pid_t child = ::forkpty(&screen, nullptr, nullptr, &size);
  if (child == 0) {
    const std::string command = "exec env -u NO_COLOR -u COLUMNS " + environment +
                                " '" SFT_BINARY
                                "' --config examples/quickstart.yaml "
                                "--model_name_or_path examples/tiny-model --max_steps 30 "
                                "--logging_steps 5 --eval_strategy steps --eval_steps 10 "
                                "--save_strategy no --threads 1 --output_dir " +
                                folder;
    if (::chdir(SFT_TEST_DIR "/..") == 0) {
      ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    }
    ::_exit(127);
  }
  const Fd closed(screen);
  std::string all;
  char bytes[4096];
  for (ssize_t n = 0; (n = ::read(screen, bytes, sizeof bytes)) > 0;) {
    all.append(bytes, static_cast<size_t>(n));
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 0) << all;
  return all;
}

// The columns that a text takes, without escapes.
size_t columns_of(const std::string& text) {
  const std::string plain = std::regex_replace(text, std::regex("\x1b\\[[0-9;]*[A-Za-z]"), "");
  return static_cast<size_t>(std::ranges::count_if(
      plain, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

class Screen : public testing::TestWithParam<int> {};

TEST_P(Screen, OfARunShowsNumbersThatDoNotWrap) {
  const TemporaryFolder out("screen" + std::to_string(GetParam()));
  const std::string all = on_terminal(GetParam(), "LANG=C.UTF-8 TERM=xterm", out.path());
  size_t lines = 0;
  for (const std::string& row : split(all, '\n')) {
    for (const std::string& piece : split(row, '\r')) {
      const std::string text = std::regex_replace(piece, std::regex("\x1b\\[[0-9;]*[A-Za-z]"), "");
      if (text.starts_with("step ") || text.find(" steps") != std::string::npos) {
        EXPECT_LE(columns_of(piece), static_cast<size_t>(GetParam())) << piece;
        ++lines;
      }
    }
  }
  EXPECT_GE(lines, 7u) << all;  // six log lines, three evaluations, the last one
  EXPECT_NE(all.find("eval loss"), std::string::npos);
  EXPECT_NE(all.find("next:  sft generate"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Columns, Screen, testing::Values(40, 80, 120));

TEST(ScreenPlain, WithoutColourAndUtf8IsPlainAscii) {
  const TemporaryFolder out("screen_plain");
  const std::string all = on_terminal(80, "LANG=C LC_ALL=C NO_COLOR=1 TERM=xterm", out.path());
  EXPECT_FALSE(std::regex_search(all, std::regex("\x1b\\[[0-9;]*m")));
  for (const char c : all) {
    ASSERT_LT(static_cast<unsigned char>(c), 128u) << all;
  }
}

TEST(ScreenPlain, APipeGetsTheLinesOfTheTrainerWithAllDigits) {
  const TemporaryFolder out("pipe");
  const RunResult r =
      run_sft("--config " SFT_TEST_DIR "/../examples/quickstart.yaml --dataset_name " SFT_TEST_DIR
              "/../examples/data/ostrafell --model_name_or_path " SFT_TEST_DIR
              "/../examples/tiny-model --max_steps 4 --logging_steps 2 --threads 1 --output_dir " +
              out.path().string());
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_TRUE(r.out.starts_with("{'loss': ")) << r.out;
  EXPECT_EQ(r.out.find('\r'), std::string::npos);
  EXPECT_EQ((r.out + r.err).find('\x1b'), std::string::npos);
}

std::string printed_by(const std::string& command) {
  const TemporaryFolder folder("completion");
  const std::string out = (folder.path() / "out").string();
  EXPECT_EQ(std::system((command + " >" + out).c_str()), 0) << command;
  return std::string(trim(read_text(out)));
}

std::string in_bash(const std::string& words, int at) {
  return printed_by(
      "bash -c 'PATH=\"${0%/*}:$PATH\"; eval \"$(sft completion bash)\"; COMP_WORDS=(" + words +
      "); COMP_CWORD=" + std::to_string(at) + "; _sft; echo \"${COMPREPLY[@]}\"' " SFT_BINARY);
}

TEST(Completion, OfBashKnowsCommandsOptionsAndChoices) {
  EXPECT_EQ(in_bash("sft wat", 1), "watch");
  EXPECT_EQ(in_bash("sft --early_stopping_pat", 1), "--early_stopping_patience");
  EXPECT_EQ(in_bash("sft watch --watch_h", 2), "--watch_host");
  EXPECT_EQ(in_bash("sft --eval_strategy st", 2), "steps");
  EXPECT_EQ(in_bash("sft explain C18", 2).substr(0, 9), "C180 C181");
  EXPECT_EQ(in_bash("sft explain C180", 2), "C180");
}

TEST(Completion, OfFishKnowsCommandsOptionsAndChoices) {
  const auto in_fish = [](const std::string& words) {
    return printed_by("HOME=/nonexistent fish --no-config -c 'set -p PATH (dirname " SFT_BINARY
                      "); sft completion fish | source; complete -C \"" +
                      words + "\"' 2>/dev/null");
  };
  EXPECT_EQ(in_fish("sft wat").substr(0, 6), "watch\t");
  EXPECT_EQ(in_fish("sft --early_stopping_pat").substr(0, 26), "--early_stopping_patience\t");
  EXPECT_EQ(in_fish("sft watch --watch_h").substr(0, 12), "--watch_host");
  EXPECT_EQ(in_fish("sft --eval_strategy st").substr(0, 5), "steps");
}

TEST(Completion, OfZshKnowsCommandsOptionsAndChoices) {
  const std::string folder = std::filesystem::path(SFT_BINARY).parent_path().string();
  EXPECT_EQ(printed_by("zsh -f " SFT_TEST_DIR "/cli/completion.zsh " + folder +
                       " 'sft wat' 'sft --early_stopping_pat' 'sft watch --watch_h' "
                       "'sft --eval_strategy ste'"),
            "watch\n--early_stopping_patience\nwatch --watch_host\n--eval_strategy steps");
}

TEST(Completion, IsThereForEveryShellAndNoOther) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const RunResult r = run_sft(std::string("completion ") + shell);
    EXPECT_EQ(r.code, 0);
    for (const Command& command : commands()) {
      EXPECT_NE(r.out.find(command.name), std::string::npos) << shell << " " << command.name;
    }
  }
  EXPECT_EQ(run_sft("completion csh").code, 2);
}

TEST(Manual, HasEveryCommandAndIsCleanRoff) {
  const RunResult r = run_sft("man");
  EXPECT_EQ(r.code, 0);
  for (const Command& command : commands()) {
    EXPECT_NE(r.out.find(std::string("\n.B ") + command.name + "\n"), std::string::npos);
  }
  const std::regex known("[.](TH|SH|SS|TP|B|br|nf|fi)( .*)?");
  for (const std::string& line : split(r.out, '\n')) {
    EXPECT_TRUE(!line.starts_with(".") || std::regex_match(line, known)) << line;
    EXPECT_FALSE(line.starts_with("'")) << line;
  }
}

TEST(Commands, AllHaveHelpAndDoctorSaysWhatToDo) {
  for (const Command& command : commands()) {
    if (command.run != run_help) {
      EXPECT_FALSE(help_of(command).empty()) << command.name;
    }
  }
  const RunResult r = run_sft("doctor --json", "HF_HUB_OFFLINE=1");
  const Json found = Json::parse(r.out);
  EXPECT_EQ(found["v"], 1);
  for (const Json& finding : found["findings"]) {
    const std::string state = finding["state"];
    EXPECT_TRUE(state == "ok" || finding.contains("hint")) << to_text(finding);
  }
}

TEST(EarlyStopping, EndsAfterSoManyEvaluationsThatAreNoBetterAndCountsOnAfterAResume) {
  const TemporaryFolder out("early_stopping");
  const std::string common =
      "--config " SFT_TEST_DIR "/../examples/quickstart.yaml --dataset_name " SFT_TEST_DIR
      "/../examples/data/ostrafell --model_name_or_path " SFT_TEST_DIR
      "/../examples/tiny-model --learning_rate 0 --eval_strategy steps --eval_steps 2 "
      "--save_strategy steps --save_steps 2 --early_stopping_patience 2 --threads 1 --output_dir " +
      out.path().string();
  const auto steps = [&] {
    return read_json(out.path() / "trainer_state.json")["global_step"].get<int>();
  };
  RunResult r = run_sft(common + " --max_steps 30");
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(steps(), 6);  // of the evaluations at 2, 4 and 6 the last two are no better
  EXPECT_NE(r.err.find("stops early at step 6"), std::string::npos) << r.err;
  r = run_sft(common + " --max_steps 30 --resume_from_checkpoint " +
              (out.path() / "checkpoint-4").string());
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(steps(), 6);
  EXPECT_EQ(run_sft(common + " --eval_strategy no").code, 2);
}

TEST(Report, IsThereAfterARunThatFailsToo) {
  const TemporaryFolder out("report_failed");
  const RunResult r =
      run_sft("--config " SFT_TEST_DIR "/../examples/quickstart.yaml --dataset_name " SFT_TEST_DIR
              "/../examples/data/ostrafell --model_name_or_path " SFT_TEST_DIR
              "/../examples/tiny-model --learning_rate 1e30 --warmup_steps 0 --max_grad_norm 0 "
              "--max_steps 30 --logging_steps 1 --threads 1 --output_dir " +
              out.path().string());
  EXPECT_NE(r.code, 0);
  const std::string report = read_text(out.path() / "report.html");
  EXPECT_NE(report.find("class=\"state failed\""), std::string::npos);
  EXPECT_NE(report.find("X010"), std::string::npos);
  EXPECT_TRUE(is_file(out.path() / "loss.svg"));
}

}  // namespace
}  // namespace sft
