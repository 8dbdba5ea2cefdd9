// The one table of error codes: what each means and what to do about it, by the letters that decide
// the exit code. docs/errors.md and `sft explain` are printed from it; a test compares it with the
// codes that the sources use. A new code is one line in core/error_codes/<letter's family>.cpp.
#pragma once

#include <span>
#include <string_view>

#include "core/error.h"

namespace sft {

// A code stands in the sources of one folder, so that two of them cannot mean different things by
// it. What several folders throw for one reason says so here.
enum class Thrown : bool { in_one_folder, widely };

struct CodeRow {
  Code code;
  std::string_view meaning;  // one sentence, without a full stop
  std::string_view action;   // what to do, likewise
  Thrown thrown = Thrown::in_one_folder;
};

struct CodeGroup {
  std::string_view title;
  std::span<const CodeRow> rows;
};

struct CodeFamily {
  char letter;
  ExitCode exit_code;
  std::string_view cause;
  std::span<const CodeGroup> groups;
};

// In the order of docs/errors.md.
std::span<const CodeFamily> code_families();

const CodeFamily& family_of(Code code);
// The code's row, also by what another process wrote; nullptr when there is none.
const CodeRow* find_row(std::string_view code);
// The first code that a process's output shows ("error[D012]: ..."), where it is one of the
// table's.
const CodeRow* find_shown(std::string_view output);

// The exit codes are an interface that schedulers act on.
struct ExitRow {
  ExitCode code;
  std::string_view meaning;
  std::string_view advice;  // for a scheduler
};
std::span<const ExitRow> exit_rows();

}  // namespace sft
