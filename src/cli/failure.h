// What any exception is to the user: an Error with a code. Used where a process or a rank ends.
#pragma once

#include "core/error.h"

namespace sft {

// Itself, or G001 and G030 where the system refused memory or a thread, else X002.
Error error_of(const std::exception& failure);

}  // namespace sft
