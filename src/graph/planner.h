// Places every arena value of a program into one block of memory, by lifetime.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/program.h"

namespace sft {

struct Plan {
  std::vector<int> joins;        // see join_points
  std::vector<int64_t> offsets;  // in bytes by value; -1 for what is not in the arena
  int64_t bytes = 0;             // of the arena
  int64_t host_bytes = 0;        // of what waits in the host's memory, with offsets of its own
  int64_t sum_of_values = 0;     // what it would take without sharing
};

// For each instruction that runs aside, the instruction before which it must be done (the number of
// instructions: only the end); -1 for all others. What it reads stays until then. It has the rest
// of its block and the next one, unless somebody touches what it writes.
std::vector<int> join_points(const Program& program);

// A value lives from the instruction that first writes it to the last that reads or writes it, or
// past the end when it is kept.
// Largest first, each at the lowest place that is free for its whole life. Grants the requests to
// write an output over an input (`Instruction::reuse_in`) where the input dies there.
Plan plan_memory(const Program& program);

}  // namespace sft
