#include "core/error_codes/families.h"

namespace sft {

namespace {

constexpr CodeRow kTheProgram[] = {
    {"X001", "a mistake of this program", "report it with the command"},
    {"X002", "a failure that this program did not foresee, in a library's words",
     "report it with the command"},
    {"X003",
     "a mistake of this program: a recorded program is given an input that it was not made for",
     "report it with the command"},
    {"X010",
     "three steps in a row were not finite; the message names the instruction and the rows, or the "
     "weight",
     "use a smaller --learning_rate or a longer warmup, and look at the rows"},
    {"X011", "stopped by a signal while something was fetched or sent",
     "run the command again: it goes on where it stopped"},
    {"X012", "a crash: a library was refused memory and did not notice, or a fault of the program",
     "look at ulimit -v and the container's limit, or report it"},
};

constexpr CodeGroup kGroups[] = {
    {"The program", kTheProgram},
};

}  // namespace

CodeFamily program_codes() { return {'X', ExitCode::failure, "everything else", kGroups}; }

}  // namespace sft
