#include "cli/terminal.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <utility>

#include "cli/environment.h"
#include "core/fd.h"
#include "core/numbers.h"
#include "core/printable.h"
#include "core/strings.h"

namespace sft {
namespace {

constexpr const char* kClearLine = "\r\x1b[K";

bool forced(const Environment& environment, const char* name) {
  const std::string value = environment.value(name);
  return !value.empty() && value != "0";
}

bool wants_color(const Environment& environment, const std::string& choice, bool is_tty) {
  if (choice == "always" || choice == "never") {
    return choice == "always";
  }
  if (!environment.value("NO_COLOR").empty()) {
    return false;
  }
  if (forced(environment, "CLICOLOR_FORCE") || forced(environment, "FORCE_COLOR")) {
    return true;
  }
  if (environment.value("TERM") == "dumb" || environment.value("CLICOLOR") == "0") {
    return false;
  }
  return is_tty;
}

int terminal_width(const Environment& environment) {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    return size.ws_col;
  }
  return static_cast<int>(whole_number(environment.value("COLUMNS"), 1, 1000).value_or(80));
}

bool locale_is_utf8(const Environment& environment) {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const std::string value = to_lower(environment.value(name));
    if (!value.empty()) {
      return value.find("utf-8") != std::string::npos || value.find("utf8") != std::string::npos;
    }
  }
  return false;
}

// Where the locale has no UTF-8: what our own words use has a spelling, anything else a mark.
std::string in_ascii(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 128) {
      out += text[i];
    } else if ((byte & 0xC0) != 0x80) {
      const std::string_view rest = text.substr(i);
      out += rest.starts_with("→") ? "->" : rest.starts_with("…") ? "..." : "?";
    }
  }
  return out;
}

// Nobody can be told of words that are lost: a write that fails is tried once more.
void write_words(int fd, std::string_view text) {
  text.remove_prefix(write_all(fd, text));
  write_all(fd, text);
}

// A pipe that nobody empties holds the program up; after a while it says so.
void write_stdout(std::string_view text) {
  constexpr int kPatience = 5000;  // milliseconds
  pollfd out{STDOUT_FILENO, POLLOUT, 0};
  if (::poll(&out, 1, kPatience) == 0) {
    write_words(STDERR_FILENO, "waiting: stdout is full, and nobody reads it\n");
  }
  write_words(STDOUT_FILENO, text);
}

}  // namespace

TerminalSettings TerminalSettings::from_environment(const std::string& color) {
  const Environment environment = read_environment();
  TerminalSettings s;
  const bool dumb = environment.value("TERM") == "dumb";
  s.out_is_tty = isatty(STDOUT_FILENO) != 0;
  s.err_is_tty = isatty(STDERR_FILENO) != 0 && !dumb;  // a dumb terminal cannot redraw a line
  s.out_color = wants_color(environment, color, s.out_is_tty);
  s.err_color = wants_color(environment, color, s.err_is_tty);
  s.utf8 = locale_is_utf8(environment);
  s.width = terminal_width(environment);
  s.write_out = write_stdout;
  s.write_err = [](std::string_view text) { write_words(STDERR_FILENO, text); };
  s.now = [] {
    const auto since = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double>(since).count();
  };
  return s;
}

void Terminal::print(std::string_view line) {
  print_styled(settings_.out_is_tty ? printable(line) : std::string(line));
}

void Terminal::write(std::string_view text) {
  settings_.write_out(settings_.out_is_tty ? printable(text) : std::string(text));
}

void Terminal::print_styled(std::string_view line) {
  const std::lock_guard lock(mutex_);
  if (settings_.out_is_tty) {
    clear_progress();
  }
  settings_.write_out(std::string(line) + "\n");
  draw_progress();
}

void Terminal::say(std::string_view line) { say_styled(printable(line)); }

void Terminal::say_styled(std::string_view line) {
  const std::lock_guard lock(mutex_);
  clear_progress();
  const bool ascii = settings_.err_is_tty && !settings_.utf8;
  settings_.write_err((ascii ? in_ascii(line) : std::string(line)) + "\n");
  draw_progress();
}

void Terminal::report(const Error& error) {
  std::string text = colored(fmt::format("{}{}]:", kErrorBegins, error.code().text()), 31);
  text += " " + printable(error.message());
  if (!error.where().empty()) {
    text += "\n  " + colored("-->", 36) + " " + printable(error.where());
  }
  if (!error.hint().empty()) {
    text += "\n" + colored("hint:", 36) + " " + printable(error.hint());
  }
  say_styled(text);
}

Logger Terminal::logger(int64_t quiet, int64_t verbose) {
  using Level = Logger::Level;
  const Level level = quiet >= 2    ? Level::errors
                      : quiet == 1  ? Level::warnings
                      : verbose > 0 ? Level::details
                                    : Level::notes;
  return {level, [this](Level of, std::string_view text) {
            const std::string shown = printable(text);
            say_styled(of == Level::warnings ? colored("warning:", 33) + " " + shown : shown);
          }};
}

void Terminal::set_progress(std::string line) {
  const std::lock_guard lock(mutex_);
  if (!settings_.err_is_tty) {
    return;
  }
  clear_progress();
  progress_ = printable(line);
  draw_progress();
}

void Terminal::clear_progress() {
  if (drawn_) {
    settings_.write_err(kClearLine);
    drawn_ = false;
  }
}

void Terminal::draw_progress() {
  if (!progress_.empty() && !drawn_) {
    settings_.write_err(progress_);
    drawn_ = true;
  }
}

std::string Terminal::bold(std::string_view text) const { return colored(text, 1); }

std::string Terminal::colored(std::string_view text, int code) const {
  return settings_.err_color ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : std::string(text);
}

Progress::Progress(Terminal& terminal, std::string unit, int64_t total, int64_t start)
    : terminal_(terminal),
      unit_(std::move(unit)),
      total_(total),
      start_(start),
      done_(start),
      began_(terminal.settings().now()),
      last_shown_(began_) {
  samples_.push_back({began_, start});
}

Progress::~Progress() { terminal_.set_progress(""); }

double Progress::rate(double now) {
  if (now - samples_.back().time >= 1.0) {
    samples_.push_back({now, done_});
  }
  while (samples_.size() > 2 && now - samples_[1].time >= 30.0) {
    samples_.pop_front();
  }
  const double seconds = now - samples_.front().time;
  return seconds > 0 ? static_cast<double>(done_ - samples_.front().done) / seconds : 0.0;
}

std::string Progress::line(int64_t done, double rate, std::string_view tail,
                           std::string_view curve) const {
  const auto& settings = terminal_.settings();
  const int width = std::min(settings.width, curve.empty() ? 100 : 130);
  const double share =
      total_ > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total_), 0.0, 1.0)
                 : 0;
  std::string text = fmt::format("{}/{} {}", done, total_, unit_);
  if (rate > 0) {
    text += rate >= 1 ? fmt::format("  {:.1f}/s", rate) : fmt::format("  {:.1f} s each", 1 / rate);
    text += fmt::format("  {} left", human_seconds(static_cast<double>(total_ - done) / rate));
  }
  if (!tail.empty()) {
    text += fmt::format("  {}", tail);
  }
  std::string out = fmt::format("{:3.0f} % ", 100 * share);
  if (width >= 60) {
    constexpr int kCells = 20;
    const int full = static_cast<int>(share * kCells);
    for (int i = 0; i < kCells; ++i) {
      out += i < full ? (settings.utf8 ? "█" : "#") : (settings.utf8 ? "░" : "-");
    }
    out += " ";
    size_t room = static_cast<size_t>(std::max(0, width - 28));
    const size_t cells = static_cast<size_t>(std::ranges::count_if(
        curve, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
    if (!curve.empty() && cells + 2 <= room) {
      out += fmt::format("{}  ", curve);
      room -= cells + 2;
    }
    text.resize(std::min(text.size(), room));
  } else {
    text.resize(std::min(text.size(), static_cast<size_t>(std::max(0, width - 7))));
  }
  return out + text;
}

void Progress::update(int64_t done, std::string_view tail, std::string_view curve) {
  done_ = done;
  const double now = terminal_.settings().now();
  const double speed = rate(now);
  if (terminal_.settings().err_is_tty) {
    if (now - began_ >= 0.3 && (!shown_ || now - last_shown_ >= 0.1)) {
      terminal_.set_progress(line(done, speed, tail, curve));
      last_shown_ = now;
      shown_ = true;
    }
  } else if (now - last_shown_ >= 60.0) {
    terminal_.say(fmt::format(
        "{} {}/{}  {:.0f} %{}{}", unit_, done, total_,
        100.0 * static_cast<double>(done) / static_cast<double>(std::max<int64_t>(1, total_)),
        speed > 0
            ? fmt::format("  {} left", human_seconds(static_cast<double>(total_ - done) / speed))
            : "",
        tail.empty() ? "" : fmt::format("  {}", tail)));
    last_shown_ = now;
    shown_ = true;
  }
}

void Progress::finish() {
  terminal_.set_progress("");
  if (!shown_) {
    return;
  }
  const double seconds = terminal_.settings().now() - began_;
  terminal_.say(fmt::format("{} {} in {} ({:.2f}/s)", done_ - start_, unit_, human_seconds(seconds),
                            static_cast<double>(done_ - start_) / std::max(seconds, 1e-9)));
  shown_ = false;
}

}  // namespace sft
