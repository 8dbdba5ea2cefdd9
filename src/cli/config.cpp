// `sft config …`: the whole resolved configuration, as YAML that `--config` reads back, or JSON.
// `--markdown` prints docs/options.md.
#include <algorithm>
#include <vector>

#include "cli/commands.h"
#include "cli/environment.h"
#include "cli/terminal.h"
#include "options/text.h"
#include "settings/train_options.h"

namespace sft {
namespace {

std::string json_text(const OptionTable& table) { return to_text(table.values(), 2) + "\n"; }

}  // namespace

int run_config(Args args, Terminal& terminal) {
  std::vector<std::string> rest(args.begin(), args.end());
  if (std::erase(rest, "--help") + std::erase(rest, "-h") > 0) {
    terminal.print(
        "sft config [training options]\n\n"
        "Prints every option as a run with these options would have it, as YAML that\n"
        "--config reads back. --json prints JSON.");
    return 0;
  }
  if (std::erase(rest, "--markdown") > 0) {
    TrainOptions defaults;
    OptionTable table;
    defaults.visit(table);
    terminal.write(markdown_text(table));
    return 0;
  }
  TrainOptions options = read_train_options(rest);
  options.output_dir = at_home(options.output_dir, read_environment());
  OptionTable table;
  options.visit(table);
  const Logger log = terminal.logger(options.quiet, options.verbose);
  for (const std::string& note : options.notes) {
    log.note(note);
  }
  for (const std::string& detail : options.details) {
    log.detail(detail);
  }
  terminal.write(options.json ? json_text(table) : yaml_text(table));
  return 0;
}

}  // namespace sft
