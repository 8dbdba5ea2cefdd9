#include "cli/terminal.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace sft {
namespace {

struct Screen {
  std::string out, err;
  double clock = 0.0;

  TerminalSettings settings(bool tty) {
    TerminalSettings s;
    s.out_is_tty = s.err_is_tty = tty;
    s.width = 80;
    s.write_out = [this](std::string_view text) { out += text; };
    s.write_err = [this](std::string_view text) { err += text; };
    s.now = [this] { return clock; };
    return s;
  }
};

TEST(Terminal, NothingFromFilesOrModelsCanControlIt) {
  const std::string evil =
      "\x1b]0;owned\x07\x1b[2J\xC2\x9B"
      "5n";
  for (const bool tty : {true, false}) {
    Screen screen;
    TerminalSettings settings = screen.settings(tty);
    settings.err_color = false;
    Terminal terminal(settings);
    terminal.say(evil);
    terminal.report(Error("D010", evil).at(evil).hint(evil));
    terminal.logger(0, 0).warn(evil);
    EXPECT_EQ(screen.err.find('\x1b'), std::string::npos);
    EXPECT_EQ(screen.err.find("\xC2\x9B"), std::string::npos);
    terminal.print(evil);
    terminal.write(evil);
    EXPECT_EQ(screen.out.find('\x1b') == std::string::npos, tty);  // a pipe gets what there is
  }
}

TEST(Progress, WaitsAndIsDrawnAtMostTenTimesASecond) {
  Screen screen;
  Terminal terminal(screen.settings(true));
  Progress progress(terminal, "steps", 1000);
  screen.clock = 0.2;
  progress.update(2);
  EXPECT_EQ(screen.err, "");
  screen.clock = 0.31;
  progress.update(3);
  EXPECT_NE(screen.err.find("3/1000 steps"), std::string::npos);
  const size_t drawn = screen.err.size();
  screen.clock = 0.35;
  progress.update(4);
  EXPECT_EQ(screen.err.size(), drawn);
  screen.clock = 0.42;
  progress.update(5, "loss 1.5");
  EXPECT_NE(screen.err.find("loss 1.5"), std::string::npos);
  EXPECT_EQ(screen.out, "");
}

TEST(Progress, ElsewhereIsOneWholeLineAMinute) {
  Screen screen;
  Terminal terminal(screen.settings(false));
  Progress progress(terminal, "steps", 1000);
  for (int second = 1; second <= 130; ++second) {
    screen.clock = second;
    progress.update(second, "loss 1.43");
  }
  EXPECT_EQ(std::count(screen.err.begin(), screen.err.end(), '\n'), 2);
  EXPECT_EQ(screen.err.find_first_of("\r\x1b"), std::string::npos);
  EXPECT_NE(screen.err.find("steps 60/1000  6 %  15 min 40 s left  loss 1.43\n"), std::string::npos)
      << screen.err;
  progress.finish();
  EXPECT_NE(screen.err.find("130 steps in 2 min 10 s"), std::string::npos);
}

TEST(Progress, RateForgetsWhatIsLongPast) {
  Screen screen;
  Terminal terminal(screen.settings(true));
  Progress progress(terminal, "steps", 10000);
  for (int second = 1; second <= 60; ++second) {  // 1/s, then 10/s
    screen.clock = second;
    progress.update(second);
  }
  for (int second = 61; second <= 120; ++second) {
    screen.clock = second;
    progress.update(60 + 10 * (second - 60));
  }
  const std::string last = screen.err.substr(screen.err.rfind('\r'));
  EXPECT_NE(last.find(" 10.0/s"), std::string::npos) << last;
}

TEST(Progress, AResumedRunCountsItsOwnSteps) {
  Screen screen;
  Terminal terminal(screen.settings(true));
  Progress progress(terminal, "steps", 100, 90);
  screen.clock = 2.0;
  progress.update(92);
  EXPECT_NE(screen.err.find("92/100 steps  1.0/s  8 s left"), std::string::npos) << screen.err;
}

TEST(Progress, NarrowAndAsciiTerminals) {
  Screen screen;
  auto settings = screen.settings(true);
  settings.width = 40;
  Terminal terminal(settings);
  Progress progress(terminal, "steps", 10);
  screen.clock = 1.0;
  progress.update(5, "a rather long tail that does not fit in such a line");
  EXPECT_LE(screen.err.size(), 40u);
  EXPECT_EQ(screen.err.find('#'), std::string::npos);
}

TEST(Terminal, LinesClearTheProgressAndRedrawIt) {
  Screen screen;
  Terminal terminal(screen.settings(true));
  terminal.set_progress("BAR");
  terminal.print("{'loss': 1.0}");
  EXPECT_EQ(screen.out, "{'loss': 1.0}\n");
  EXPECT_EQ(screen.err, "BAR\r\x1b[KBAR");
  terminal.set_progress("");
  EXPECT_EQ(screen.err, "BAR\r\x1b[KBAR\r\x1b[K");
}

TEST(Terminal, ResultsInAPipeLeaveTheBarAlone) {
  Screen screen;
  auto settings = screen.settings(true);
  settings.out_is_tty = false;
  Terminal terminal(settings);
  terminal.set_progress("BAR");
  terminal.print("line");
  EXPECT_EQ(screen.err, "BAR");
}

TEST(Terminal, LevelsOfTheLogger) {
  const auto said = [](int64_t quiet, int64_t verbose) {
    Screen screen;
    Terminal terminal(screen.settings(false));
    const Logger log = terminal.logger(quiet, verbose);
    log.warn("w");
    log.note("n");
    log.detail("d");
    return screen.err;
  };
  EXPECT_EQ(said(0, 0), "warning: w\nn\n");
  EXPECT_EQ(said(0, 1), "warning: w\nn\nd\n");
  EXPECT_EQ(said(1, 0), "warning: w\n");
  EXPECT_EQ(said(2, 0), "");
}

}  // namespace
}  // namespace sft
