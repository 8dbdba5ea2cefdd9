// The program's one exception type, used by every layer.
//
// An error has a stable code ("D012"), one sentence that names the thing, the place where it stands
// (file:line, file@byte, tensor name), and one hint that can be pasted. `main` prints it once as
//   error[D012]: row 88123 has no "messages" (it has: conversations, id)
//     --> data/train.jsonl:88123
//   hint: ...
// and returns the exit code that the code's letter stands for.
#pragma once

#include <exception>
#include <string>
#include <string_view>

namespace sft {

// The exit codes are an interface that schedulers act on (docs/errors.md).
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

// Letters: C configuration and usage, D data, M model or file damaged or unsupported, G memory and
// device, S saving and input/output, N network and ranks, X everything else.
class Error : public std::exception {
 public:
  Error(std::string_view code, std::string message);

  // Where it stands; the innermost place wins when several are added.
  Error& at(std::string where);
  // The way out, one line.
  Error& hint(std::string text);
  // Adds "while reading x: " in front of the message, as the error rises.
  Error& context(std::string_view text);

  const std::string& code() const { return code_; }
  const std::string& message() const { return message_; }
  const std::string& where() const { return where_; }
  const std::string& hint() const { return hint_; }
  ExitCode exit_code() const;
  // "error[D012]: message\n  --> where\nhint: ...", without a final newline.
  std::string text() const;
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  std::string code_, message_, where_, hint_;
};

// Our own mistakes, not the user's: throws X001 with the expression and the place.
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);

}  // namespace sft

#define SFT_ASSERT(expression) \
  ((expression) ? void(0) : ::sft::assertion_failed(#expression, __FILE__, __LINE__))
