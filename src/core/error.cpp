#include "core/error.h"

#include <fmt/format.h>

namespace sft {

Error::Error(std::string_view code, std::string message)
    : code_(code), message_(std::move(message)) {}

Error& Error::at(std::string where) {
  if (where_.empty()) {
    where_ = std::move(where);
  }
  return *this;
}

Error& Error::hint(std::string text) {
  if (hint_.empty()) {
    hint_ = std::move(text);
  }
  return *this;
}

Error& Error::context(std::string_view text) {
  message_ = fmt::format("{}: {}", text, message_);
  return *this;
}

ExitCode Error::exit_code() const {
  switch (code_.empty() ? 'X' : code_[0]) {
    case 'C':
      return ExitCode::usage;
    case 'D':
      return ExitCode::data;
    case 'M':
      return ExitCode::model;
    case 'G':
      return ExitCode::memory;
    case 'S':
      return ExitCode::io;
    case 'N':
      return ExitCode::restart;
    default:
      return ExitCode::failure;
  }
}

std::string Error::text() const {
  std::string out = fmt::format("error[{}]: {}", code_, message_);
  if (!where_.empty()) {
    out += fmt::format("\n  --> {}", where_);
  }
  if (!hint_.empty()) {
    out += fmt::format("\nhint: {}", hint_);
  }
  return out;
}

void assertion_failed(const char* expression, const char* file, int line) {
  throw Error("X001", fmt::format("internal error: {} does not hold", expression))
      .at(fmt::format("{}:{}", file, line));
}

}  // namespace sft
