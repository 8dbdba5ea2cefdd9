// The subcommands by name. Used by main, and by what is made of the list: completions, the manual
// page.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cli/commands.h"

namespace sft {

struct Command {
  const char* name;
  int (*run)(Args, Terminal&);
  const char* summary;
};

std::span<const Command> commands();
const Command* find_command(const std::string& name);

// What `sft NAME --help` says, and the options that it lists.
std::string help_of(const Command& command);
struct HelpOption {
  std::string name, words;  // "max_steps"; the line's rest
};
std::vector<HelpOption> options_in(const std::string& help);

}  // namespace sft
