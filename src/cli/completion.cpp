// `sft completion bash|zsh|fish` and `sft man`: made of the list of commands, of their help and of
// the table of options.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/command_list.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "core/strings.h"
#include "settings/train_options.h"

namespace sft {

namespace {

OptionTable training_table(TrainOptions& options) {
  OptionTable table;
  options.visit(table);
  return table;
}

std::string names_of(const Command& command) {
  std::string out;
  for (const HelpOption& option : options_in(help_of(command))) {
    out += (out.empty() ? "--" : " --") + option.name;
  }
  return out;
}

std::string command_names() {
  std::string out;
  for (const Command& command : commands()) {
    out += (out.empty() ? "" : " ") + std::string(command.name);
  }
  return out;
}

// Of shells that know words alone: bash, and zsh through its bashcompinit.
std::string bash_script() {
  TrainOptions options;
  const OptionTable table = training_table(options);
  std::string out =
      "# Completions of sft. bash: eval \"$(sft completion bash)\", or as a file in\n"
      "# /usr/share/bash-completion/completions/sft\n"
      "_sft() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} "
      "command=train words=\n"
      "  [ \"$before\" = = ] && before=${COMP_WORDS[COMP_CWORD-2]}\n"
      "  [ \"$word\" = = ] && word=\n"
      "  case ${COMP_WORDS[1]} in\n";
  for (const Command& command : commands()) {
    out += fmt::format("    {0}) command={0} ;;\n", command.name);
  }
  out += "  esac\n  case $before in\n";
  for (const Option& option : table.options()) {
    if (!option.choices.empty()) {
      out += fmt::format("    --{}) words='{}' ;;\n", option.name, fmt::join(option.choices, " "));
    }
  }
  out +=
      "    --resume_from_checkpoint) words=\"latest $(compgen -d -- \"$word\")\" ;;\n"
      "    explain) words=$(sft explain 2>/dev/null | grep -oE '\\b[CDMGSNX][0-9]{3}\\b' | sort "
      "-u) ;;\n"
      "    completion) words='bash zsh fish' ;;\n"
      "    help) words='options data memory distributed deepspeed env exit-codes' ;;\n"
      "  esac\n"
      "  if [ -z \"$words\" ]; then\n"
      "    case $word in\n"
      "      -*)\n        case $command in\n";
  for (const Command& command : commands()) {
    out += fmt::format("          {}) words='{}' ;;\n", command.name, names_of(command));
  }
  out += fmt::format(
      "        esac ;;\n"
      "      *) [ \"$COMP_CWORD\" = 1 ] && words='{}' ;;\n"
      "    esac\n"
      "  fi\n"
      "  COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
      "  [ ${{#COMPREPLY[@]}} = 0 ] && COMPREPLY=($(compgen -f -- \"$word\"))\n"
      "}}\n"
      "complete -o filenames -F _sft sft\n",
      command_names());
  return out;
}

std::string zsh_script() {
  return "#compdef sft\n# zsh: eval \"$(sft completion zsh)\" after compinit\n"
         "autoload -U +X bashcompinit && bashcompinit\n" +
         bash_script();
}

std::string fish_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    out += c == '\'' || c == '\\' ? std::string("\\") + c : std::string(1, c);
  }
  return out;
}

std::string fish_script() {
  std::string out = "# fish: sft completion fish > ~/.config/fish/completions/sft.fish\n";
  for (const Command& command : commands()) {
    out += fmt::format("complete -c sft -n __fish_use_subcommand -a {} -d '{}'\n", command.name,
                       fish_text(command.summary));
  }
  TrainOptions options;
  const OptionTable table = training_table(options);
  for (const Option& option : table.options()) {
    if (!option.choices.empty()) {
      out += fmt::format("complete -c sft -l {} -x -a '{}' -d '{}'\n", option.name,
                         fmt::join(option.choices, " "), fish_text(option.help));
    } else {
      out += fmt::format("complete -c sft -l {} -d '{}'\n", option.name, fish_text(option.help));
    }
  }
  for (const Command& command : commands()) {
    if (command.run == run_train || command.run == run_launch) {
      continue;
    }
    for (const HelpOption& option : options_in(help_of(command))) {
      out += fmt::format("complete -c sft -n '__fish_seen_subcommand_from {}' -l {}\n",
                         command.name, option.name);
    }
  }
  return out;
}

// As roff has it: no line begins with a dot or a quote, and backslashes and hyphens are themselves.
std::string roff(std::string_view text) {
  std::string out;
  bool begins = true;
  for (const char c : text) {
    if (begins && (c == '.' || c == '\'')) {
      out += "\\&";
    }
    out += c == '\\' ? "\\e" : c == '-' ? "\\-" : std::string(1, c);
    begins = c == '\n';
  }
  return out;
}

std::string manual() {
  std::string out =
      ".TH SFT 1 \"\" \"sft " SFT_VERSION
      "\" \"User Commands\"\n.SH NAME\nsft \\- fine\\-tune open language models\n"
      ".SH SYNOPSIS\n.B sft\n[\\fIoptions\\fR]\n.br\n.B sft\n\\fIcommand\\fR [\\fIoptions\\fR]\n"
      ".SH DESCRIPTION\nTrains a model on examples, with the flags and files of TRL's sft.py. "
      "Without a command it trains.\n.SH COMMANDS\n";
  for (const Command& command : commands()) {
    out += fmt::format(".TP\n.B {}\n{}\n", command.name, roff(command.summary));
  }
  TrainOptions options;
  const OptionTable table = training_table(options);
  std::string group;
  out +=
      ".SH OPTIONS\nEvery option is a flag and a key of the YAML file given with \\-\\-config.\n";
  for (const Option& option : table.options()) {
    if (option.group != group) {
      group = option.group;
      out += fmt::format(".SS {}\n", roff(group));
    }
    const std::string value =
        option.is_boolean() ? "" : fmt::format(" \\fI{}\\fR", roff(option.type_name()));
    out += fmt::format(".TP\n.B \\-\\-{}{}\n{}", roff(option.name), value, roff(option.help));
    if (!option.choices.empty()) {
      out += roff(fmt::format(" One of {}.", fmt::join(option.choices, ", ")));
    }
    if (!option.default_value.is_null()) {
      out += roff(fmt::format(" Default: {}.", to_text(option.default_value)));
    }
    out += "\n";
  }
  out += ".SH EXIT STATUS\n.nf\n" + roff(exit_codes_page()) + "\n.fi\n";
  return out;
}

}  // namespace

int run_completion(Args args, Terminal& terminal) {
  const std::string shell = args.empty() ? "" : args[0];
  if (asks_for_help(args)) {
    terminal.print(
        "sft completion bash|zsh|fish\n\nPrints what the shell reads to complete sft's "
        "words:\n  eval \"$(sft completion bash)\"");
    return 0;
  }
  if (shell == "bash" || shell == "zsh" || shell == "fish") {
    terminal.settings().write_out(shell == "bash"  ? bash_script()
                                  : shell == "zsh" ? zsh_script()
                                                   : fish_script());
    return 0;
  }
  throw Error("C009",
              fmt::format("there are no completions for \"{}\"; there are for bash, zsh and "
                          "fish",
                          shell))
      .hint("sft completion bash");
}

int run_man(Args args, Terminal& terminal) {
  if (asks_for_help(args)) {
    terminal.print("sft man\n\nPrints the manual page:\n  sft man | man -l -");
    return 0;
  }
  terminal.settings().write_out(manual());
  return 0;
}

}  // namespace sft
