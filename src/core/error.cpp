#include "core/error.h"

#include <fmt/format.h>

namespace sft {

Error::Error(Code code, std::string message) : code_(code), message_(std::move(message)) {}

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

std::string Error::text() const {
  std::string out = fmt::format("{}{}]: {}", kErrorBegins, code_.text(), message_);
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
