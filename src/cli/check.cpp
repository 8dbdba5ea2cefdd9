// `sft check`: what transformers, vLLM, SGLang, llama.cpp, Ollama, MLX and lm-eval will make of a
// model's files, and what to change.
#include "run/check/check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/model_commands.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "core/log.h"
#include "options/parser.h"

namespace sft {

namespace {

struct Words {
  std::string path;
  bool fix = false, weights = false, json = false;
  int64_t quiet = 0;

  void visit(OptionTable& v) {
    v.group("Check");
    v("path", &path,
      "A model's folder, an adapter's folder or a .gguf file; a bare word on the command line is "
      "the same.");
    v("fix", &fix, "Make the changes that the program can make: to JSON files, key by key.");
    v("weights", &weights, "Look at every weight too, for values that are no numbers.");
    v("json", &json, "The findings as one JSON object.");
    v("quiet", &quiet, "Only warnings.").short_name('q');
  }
};

void print(const CheckResult& result, Terminal& terminal) {
  for (const Reader reader : result.readers) {
    terminal.print(fmt::format("{:16}{}", name_of(reader), words_of(result.on(reader))));
  }
  for (const Finding& finding : result.findings) {
    std::map<Effect, std::vector<std::string>, std::greater<>> readers;
    for (const auto& [reader, effect] : finding.effects) {
      readers[effect].emplace_back(name_of(reader));
    }
    terminal.print("");
    terminal.print(fmt::format("{}  ({})", finding.what, finding.id));
    terminal.print("  where   " + finding.where);
    for (const auto& [effect, names] : readers) {
      terminal.print(fmt::format("  {:7} {}", name_of(effect), fmt::join(names, ", ")));
    }
    terminal.print(fmt::format("  change  {}{}", finding.change,
                               finding.fix.empty() ? "" : "  (--fix does it)"));
  }
}

}  // namespace

int run_check(Args args, Terminal& terminal) {
  Words words;
  OptionTable table;
  words.visit(table);
  if (asks_for_help(args)) {
    show_usage("sft check DIR|FILE.gguf [--fix] [options]", table, terminal);
    return 0;
  }
  const ParsedOptions parsed = parse_options(table, args, {.positionals = true, .config = false});
  if (words.path.empty() && parsed.positionals.size() == 1) {
    words.path = parsed.positionals[0];
  } else if (words.path.empty() || !parsed.positionals.empty()) {
    throw Error("C061", "one folder or file is needed").hint("sft check DIR");
  }
  const Logger log = terminal.logger(words.quiet, 0);
  CheckResult result = check_model(words.path, words.weights);
  if (words.fix) {
    // One change may show what stood behind it.
    for (int round = 0; round < 3; ++round) {
      const std::vector<std::string> changed = fix_model(words.path, result.findings);
      for (const std::string& one : changed) {
        log.note("changed " + one);
      }
      if (changed.empty()) {
        break;
      }
      result = check_model(words.path, words.weights);
    }
  }
  if (words.json) {
    terminal.print(to_text(to_json(result, words.path)));
  } else {
    print(result, terminal);
  }
  bool broken = false;
  for (const Reader reader : result.readers) {
    broken = broken || result.on(reader) >= Effect::wrong;
  }
  return broken ? static_cast<int>(ExitCode::model) : 0;
}

}  // namespace sft
