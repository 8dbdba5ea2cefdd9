// A table of which some rows are trained while the others stay as they are: PEFT's trainable
// tokens.
#pragma once

#include <vector>

#include "graph/program.h"

namespace sft {

// table (n, width), frozen; rows (count, width): those that stand in place of the table's rows
// `which` -> the whole table (n, width), of which only `rows` get a gradient.
Value replace_rows(Program& p, Value table, Value rows, const std::vector<int64_t>& which);

}  // namespace sft
