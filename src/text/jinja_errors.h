// How a template fails: one code per kind of failure, and the bounds that a hostile or mistaken
// template runs into instead of the machine's. Used by the parser and the interpreter.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sft::jinja {

// M150 the template's syntax, with the line
inline constexpr std::string_view kSyntax = "M150";
// M151 the template itself refused its input (raise_exception)
inline constexpr std::string_view kRaised = "M151";
// M152 an undefined value was used
inline constexpr std::string_view kUndefined = "M152";
// M153 an operation on a value of the wrong type or range
inline constexpr std::string_view kType = "M153";
// M154 a bound of Budget, or nesting
inline constexpr std::string_view kLimit = "M154";
// M155 a construct of Jinja that chat templates have no use for and this interpreter leaves out
inline constexpr std::string_view kUnsupported = "M155";
// M156 what the sandbox forbids
inline constexpr std::string_view kUnsafe = "M156";
// M160 an integer beyond 64 bits
inline constexpr std::string_view kOverflow = "M160";
// M161 no filter, test or function of that name
inline constexpr std::string_view kUnknown = "M161";

[[noreturn]] void fail(std::string_view code, std::string message);

inline constexpr int kMaxDepth = 200;  // of data, of nested expressions and of macro calls

// What one rendering may use; every unit is counted down and M154 thrown at zero.
struct Budget {
  int64_t steps = 10'000'000;  // statements and loop rounds and elements looked at
  int64_t bytes = 1LL << 29;   // of text and lists made, in all

  void step(int64_t n = 1) {
    if ((steps -= n) < 0) {
      exhausted("steps");
    }
  }
  void make(int64_t n) {
    if ((bytes -= n) < 0) {
      exhausted("bytes of intermediate text");
    }
  }
  [[noreturn]] void exhausted(std::string_view what) const;
};

}  // namespace sft::jinja
