#include "cli/command_list.h"

#include <algorithm>

#include "cli/model_commands.h"
#include "cli/terminal.h"
#include "core/strings.h"

namespace sft {

namespace {

constexpr Command kCommands[] = {
    {"train", run_train, "fine-tune a model; what sft does without a command"},
    {"launch", run_launch, "train with several ranks, here or on several machines"},
    {"config", run_config, "print the whole configuration of a run"},
    {"import", run_import, "a recipe of Axolotl or LLaMA-Factory as ours"},
    {"inspect", run_inspect, "show examples with the trained tokens marked"},
    {"generate", run_generate, "write text with a model"},
    {"eval", run_eval, "a model's loss on a data set, or its scores in tasks"},
    {"tokenize", run_tokenize, "token ids of a file's lines, and how fast they come"},
    {"merge", run_merge, "an adapter and its base become one model"},
    {"export", run_export, "a model as a GGUF file for llama.cpp, Ollama, LM Studio"},
    {"check", run_check, "what other programs will make of a model's files, and what to change"},
    {"chat", run_chat, "talk with a model, or with two side by side"},
    {"models", run_models, "the families of models that can be trained, and what fits here"},
    {"push", run_push,
     "a folder's model, adapter, GGUF files and report to the hub, in one commit"},
    {"bench", run_bench, "how fast a model's shape trains here"},
    {"watch", run_watch, "a page that shows runs, while they train and after"},
    {"report", run_report, "draw report.html and loss.svg of runs again"},
    {"doctor", run_doctor, "look for what could go wrong here, and say what to do"},
    {"env", run_env, "what this machine has"},
    {"explain", run_explain, "what an error code means, and what to do"},
    {"completion", run_completion, "completions for bash, zsh or fish"},
    {"man", run_man, "the manual page"},
    {"help", run_help, "pages on single topics"},
};

}  // namespace

std::span<const Command> commands() { return kCommands; }

const Command* find_command(const std::string& name) {
  const auto found =
      std::ranges::find_if(kCommands, [&](const Command& c) { return name == c.name; });
  return found == std::end(kCommands) ? nullptr : found;
}

std::string help_of(const Command& command) {
  std::string text;
  TerminalSettings settings;
  settings.width = 100;
  settings.write_out = [&](std::string_view part) { text += part; };
  settings.write_err = [](std::string_view) {};
  settings.now = [] { return 0.0; };
  Terminal quiet(settings);
  const std::vector<std::string> words{"--help"};
  const bool whole = command.run == run_train || command.run == run_launch;
  (whole ? run_help : command.run)(words, quiet);
  return text;
}

std::vector<HelpOption> options_in(const std::string& help) {
  std::vector<HelpOption> out;
  for (const std::string& line : split(help, '\n')) {
    const std::string_view text = trim(line);
    if (!text.starts_with("--")) {
      continue;
    }
    const size_t end = text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_", 2);
    HelpOption option{std::string(text.substr(2, end - 2)),
                      end == std::string_view::npos ? "" : std::string(trim(text.substr(end)))};
    if (!option.name.empty() &&
        std::ranges::find(out, option.name, &HelpOption::name) == out.end()) {
      out.push_back(std::move(option));
    }
  }
  return out;
}

}  // namespace sft
