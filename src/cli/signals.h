// What signals do to any subcommand until it has better plans (train.cpp, launch.cpp): it ends at
// once, with 130 or 143 also where it is the first process of a container.
#pragma once

#include <string_view>

namespace sft {

// To stderr, from anywhere: a signal handler too.
void say_at_once(std::string_view text);

// Called first. SIGINT and SIGTERM end the program, unless it was started with them ignored; a
// mapped file that cannot be read ends it with S050; a crash says X012 first; pipes and file sizes
// become errors of writes.
void end_at_signals();

}  // namespace sft
