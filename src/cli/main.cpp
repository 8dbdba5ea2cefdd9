// `sft`: looks the subcommand up, runs it, and turns a failure into one printed error and an exit
// code. Training needs no subcommand.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "cli/command_list.h"
#include "cli/failure.h"
#include "cli/signals.h"
#include "cli/terminal.h"
#include "cli/version.h"
#include "core/error.h"
#include "core/strings.h"

namespace sft {
namespace {

[[noreturn]] void unknown_command(const std::string& name) {
  std::vector<std::string> names;
  for (const Command& command : commands()) {
    names.emplace_back(command.name);
  }
  const std::string near = nearest(name, names);
  throw Error("C009", fmt::format("there is no command \"{}\"", name))
      .hint(near.empty() ? "sft -h lists them; options begin with --"
                         : fmt::format("did you mean  sft {}?", near));
}

bool contains(Args args, const char* word) {
  for (const std::string& arg : args) {
    if (arg == word) {
      return true;
    }
  }
  return false;
}

int dispatch(Args args, Terminal& terminal) {
  if (args.empty() || args[0] == "-h") {
    return run_help(std::vector<std::string>{"-h"}, terminal);
  }
  if (args[0] == "--version" || args[0] == "-V") {
    terminal.print(version_page());
    return 0;
  }
  const bool named = !args[0].starts_with('-');
  const std::string name = named ? args[0] : "train";
  const Args rest = named ? args.subspan(1) : args;
  if ((name == "train" || (name == "launch" && rest.size() == 1)) && asks_for_help(rest)) {
    return run_help(std::vector<std::string>{contains(rest, "-h") ? "-h" : "--help"}, terminal);
  }
  const Command* command = find_command(name);
  if (command == nullptr) {
    unknown_command(name);
  }
  return command->run(rest, terminal);
}

// Known before anything is parsed, because parsing itself can fail.
std::string color_choice(Args args) {
  std::string choice = "auto";
  for (size_t i = 0; i < args.size(); ++i) {
    if (args[i] == "--color" && i + 1 < args.size()) {
      choice = args[i + 1];
    } else if (args[i].starts_with("--color=")) {
      choice = args[i].substr(8);
    }
  }
  return choice;
}

int run(Args args) {
  Terminal terminal(TerminalSettings::from_environment(color_choice(args)));
  try {
    return dispatch(args, terminal);
  } catch (const std::exception& failure) {
    const Error error = error_of(failure);
    terminal.report(error);
    return static_cast<int>(error.exit_code());
  }
}

}  // namespace
}  // namespace sft

int main(int argc, char** argv) {
  sft::end_at_signals();
  const std::vector<std::string> args(argv + 1, argv + argc);
  return sft::run(args);
}
