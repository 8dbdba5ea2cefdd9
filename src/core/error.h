// The program's one exception type, used by every layer.
//
// An error has a stable code ("D031"), one sentence that names the thing, the place where it stands
// (file:line, file@byte, tensor name), and one hint that can be pasted. `main` prints it once as
//   error[D031]: this row has no "messages", as the first rows do
//     --> data/train.jsonl:88123
//   hint: ...
// and returns the exit code that the table of codes has for it.
#pragma once

#include <exception>
#include <string>
#include <string_view>

#include "core/error_code.h"

namespace sft {

// What a process ends with; core/error_codes says what each means.
enum class ExitCode : int {
  ok = 0,
  failure = 1,
  usage = 2,
  data = 3,
  model = 4,
  memory = 5,
  io = 7,
  sigint = 130,
  restart = 140,
  sigterm = 143,
};

// What is printed of an error begins with this, and so it is found in the output of a rank.
inline constexpr std::string_view kErrorBegins = "error[";

class Error : public std::exception {
 public:
  Error(Code code, std::string message);

  // Where it stands; the innermost place wins when several are added.
  Error& at(std::string where);
  // The way out, one line.
  Error& hint(std::string text);
  // Adds "while reading x: " in front of the message, as the error rises.
  Error& context(std::string_view text);

  const Code& code() const { return code_; }
  const std::string& message() const { return message_; }
  const std::string& where() const { return where_; }
  const std::string& hint() const { return hint_; }
  // What the table says of the code's letter (core/error_codes.cpp).
  ExitCode exit_code() const;
  // kErrorBegins + "D012]: message\n  --> where\nhint: ...", without a final newline.
  std::string text() const;
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  Code code_;
  std::string message_, where_, hint_;
};

// Our own mistakes, not the user's: throws X001 with the expression and the place.
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);

}  // namespace sft

#define SFT_ASSERT(expression) \
  ((expression) ? void(0) : ::sft::assertion_failed(#expression, __FILE__, __LINE__))
