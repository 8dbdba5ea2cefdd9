// What the program says to people, on stderr. A Logger belongs to a rank; a quiet one is made for
// the other ranks and for tests. Results (log lines, generated text, JSON) go to stdout elsewhere.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace sft {

class Logger {
 public:
  enum class Level { errors, warnings, notes, details };
  using Sink = std::function<void(Level, std::string_view)>;

  Logger() = default;  // says nothing
  Logger(Level level, Sink sink) : level_(level), sink_(std::move(sink)) {}

  void warn(std::string_view text) const { say(Level::warnings, text); }
  void note(std::string_view text) const { say(Level::notes, text); }
  void detail(std::string_view text) const { say(Level::details, text); }

 private:
  void say(Level level, std::string_view text) const {
    if (sink_ && level <= level_) {
      sink_(level, text);
    }
  }
  Level level_ = Level::notes;
  Sink sink_;
};

}  // namespace sft
