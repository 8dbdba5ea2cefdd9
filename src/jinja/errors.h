// How a template fails: one code per kind of failure, and what one rendering may use. Used by the
// parser and the interpreter.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/budget.h"
#include "core/error_code.h"

namespace sft::jinja {

// M150 the template's syntax, with the line
inline constexpr Code kSyntax = "M150";
// M151 the template itself refused its input (raise_exception)
inline constexpr Code kRaised = "M151";
// M152 an undefined value was used
inline constexpr Code kUndefined = "M152";
// M153 an operation on a value of the wrong type or range
inline constexpr Code kType = "M153";
// M154 the budget of a rendering, or nesting
inline constexpr Code kLimit = "M154";
// M155 a construct of Jinja that chat templates have no use for and this interpreter leaves out
inline constexpr Code kUnsupported = "M155";
// M156 what the sandbox forbids
inline constexpr Code kUnsafe = "M156";
// M160 an integer beyond 64 bits
inline constexpr Code kOverflow = "M160";
// M161 no filter, test or function of that name
inline constexpr Code kUnknown = "M161";

inline constexpr std::string_view kLimitHint =
    "the template loops, nests or builds text without end; see what stands at that line";

[[noreturn]] void fail(Code code, std::string message);

inline constexpr int kMaxDepth = 200;  // of data, of nested expressions and of macro calls

// What one rendering may use: some hundred times what the longest conversations need, and less than
// a machine notices.
inline constexpr int64_t kMaxSteps = 200'000'000;
inline constexpr int64_t kMaxBytes = 128LL << 20;
inline constexpr int kMaxStack = 4000;  // nested statements and expressions, over all macro calls
// A statement, a round of a loop, a call: what it takes, in the budget's steps.
inline constexpr int64_t kStatement = 16;

}  // namespace sft::jinja
