// The subcommands of `sft`, one file each; main.cpp has the table of them. Each takes the words
// after its own name and returns the exit code; failures are thrown as Error and printed by main.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sft {

class Logger;
class OptionTable;
class Terminal;
struct TrainOptions;

using Args = std::span<const std::string>;

int run_completion(Args args, Terminal& terminal);
int run_config(Args args, Terminal& terminal);
int run_doctor(Args args, Terminal& terminal);
int run_env(Args args, Terminal& terminal);
int run_explain(Args args, Terminal& terminal);
int run_help(Args args, Terminal& terminal);
int run_man(Args args, Terminal& terminal);

// What `sft help exit-codes` shows.
std::string exit_codes_page();

int run_train(Args args, Terminal& terminal);
int run_launch(Args args, Terminal& terminal);
int run_bench(Args args, Terminal& terminal);
int run_generate(Args args, Terminal& terminal);
int run_import(Args args, Terminal& terminal);
int run_inspect(Args args, Terminal& terminal);
int run_tokenize(Args args, Terminal& terminal);
int run_merge(Args args, Terminal& terminal);
int run_report(Args args, Terminal& terminal);
int run_watch(Args args, Terminal& terminal);
int run_export(Args args, Terminal& terminal);
int run_chat(Args args, Terminal& terminal);
int run_models(Args args, Terminal& terminal);

// The lines that parsing the options has left, for people.
void say_options(const TrainOptions& options, const Logger& log);
// Whether somebody asks what a command does: --help or -h.
bool asks_for_help(Args args);
// Shows `text` and after it the options of the table.
void show_usage(std::string_view text, const OptionTable& table, Terminal& terminal);

}  // namespace sft
