// Data that are made for other ways of training than this one, or have other names for the same:
// told by their columns, so that an error or a warning can call them what they are.
#pragma once

#include <span>
#include <string>

#include "core/json_fwd.h"

namespace sft {

struct OtherKind {
  std::string name;  // "preference data (chosen and rejected answers)"; "" when nothing is known
  std::string hint;  // how to train on what there is
};

// Of rows that have no shape that is known.
OtherKind other_kind(std::span<const Json> rows);

// Of rows with prompts and completions: a sentence when a column says which completions nobody
// wanted (KTO's data), else "".
std::string unwanted_completions(std::span<const Json> rows);

}  // namespace sft
