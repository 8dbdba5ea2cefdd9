// The two output streams and what may be done with each: colour, width, a progress line. Results go
// to stdout as whole lines, everything else to stderr. One per process, made by main, handed down.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/log.h"

namespace sft {

// What is known about the streams; from_environment reads it, tests make their own.
struct TerminalSettings {
  bool out_is_tty = false, err_is_tty = false;
  bool out_color = false, err_color = false;
  bool utf8 = false;
  int width = 80;  // columns, at most 100 are used
  std::function<void(std::string_view)> write_out, write_err;
  std::function<double()> now;  // seconds, monotonic

  // `color` is auto, always or never. First match wins: always/never, NO_COLOR, CLICOLOR_FORCE or
  // FORCE_COLOR, TERM=dumb or CLICOLOR=0, else whether the stream is a terminal.
  static TerminalSettings from_environment(const std::string& color);
};

class Terminal {
 public:
  explicit Terminal(TerminalSettings settings) : settings_(std::move(settings)) {}

  const TerminalSettings& settings() const { return settings_; }
  // A line of results on stdout. Where that is a terminal, control characters are spelled out: the
  // line may hold what stands in a file or what a model says.
  void print(std::string_view line);
  // The same without a line end.
  void write(std::string_view text);
  // A line that holds colours of ours, and otherwise printable text.
  void print_styled(std::string_view line);
  // A line for people on stderr; control characters are spelled out.
  void say(std::string_view line);
  // An error as people see it.
  void report(const Error& error);
  // `quiet` and `verbose` as counted on the command line. Warnings begin with "warning: ".
  Logger logger(int64_t quiet, int64_t verbose);

  // The progress line, which is cleared around each printed line; "" for none.
  void set_progress(std::string line);

  std::string bold(std::string_view text) const;               // on stderr
  std::string colored(std::string_view text, int code) const;  // 16-colour code, on stderr

 private:
  void say_styled(std::string_view line);
  void clear_progress();
  void draw_progress();

  TerminalSettings settings_;
  std::mutex mutex_;
  std::string progress_;
  bool drawn_ = false;
};

// Count, rate and time left of something long: a line redrawn at most 10 times a second on a
// terminal, from 0.3 s on; elsewhere one whole line every 60 s.
class Progress {
 public:
  Progress(Terminal& terminal, std::string unit, int64_t total, int64_t start = 0);
  ~Progress();  // takes the line away
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `tail` is shown after the time left: "loss 1.43  161k tok/s".
  // `curve`: shown in front of it where the line has room, and only on a terminal.
  void update(int64_t done, std::string_view tail = "", std::string_view curve = "");
  // Leaves one summary line, if anything was shown.
  void finish();

 private:
  double rate(double now);
  std::string line(int64_t done, double rate, std::string_view tail, std::string_view curve) const;

  struct Sample {
    double time;
    int64_t done;
  };
  Terminal& terminal_;
  std::string unit_;
  int64_t total_, start_, done_;
  double began_, last_shown_;
  bool shown_ = false;
  std::deque<Sample> samples_;  // the last 30 s, about one a second
};

}  // namespace sft
