// `sft inspect`: rows as training would see them, with the trained tokens marked.
#include <fmt/format.h>

#include <algorithm>

#include "cli/commands.h"
#include "cli/environment.h"
#include "cli/hub.h"
#include "cli/launch.h"
#include "cli/terminal.h"
#include "core/printable.h"
#include "core/strings.h"
#include "data/survey.h"
#include "options/parser.h"
#include "run/open_run.h"
#include "settings/train_options.h"

namespace sft {

namespace {

struct InspectOptions {
  TrainOptions train;
  int64_t limit = 3;
  bool eval = false;
  bool stats = true;

  void visit(OptionTable& v) {
    v.group("Inspection");
    v("limit", &limit, "How many rows to show.").at_least(0);
    v("eval", &eval, "The evaluation data in place of the training data.");
    v("stats", &stats, "Go through all rows and show lengths, truncation and steps.");
    train.visit(v);
  }
};

constexpr std::string_view kTrained = "\033[32m", kSpecial = "\033[35m", kPlain = "\033[0m",
                           kTrainedSpecial = "\033[32;1m";

// The tokens of a run as text; in colour, special tokens stand out.
std::string run_text(std::span<const int32_t> ids, bool trained, const Tokenizer& tokenizer,
                     bool color) {
  if (!color) {
    return printable(tokenizer.decode(ids, false));
  }
  std::string out;
  for (size_t begin = 0; begin < ids.size();) {
    const bool special = tokenizer.is_special(ids[begin]);
    size_t end = begin;
    while (end < ids.size() && tokenizer.is_special(ids[end]) == special) {
      ++end;
    }
    const std::string text = printable(tokenizer.decode(ids.subspan(begin, end - begin), false));
    const std::string_view code =
        trained ? (special ? kTrainedSpecial : kTrained) : (special ? kSpecial : "");
    out += code.empty() ? text : fmt::format("{}{}{}", code, text, kPlain);
    begin = end;
  }
  return out;
}

// The row's text; trained runs stand between « and », or are green where there is colour.
std::string marked(const Example& row, const Tokenizer& tokenizer, bool color) {
  std::string out;
  const std::span<const int32_t> ids(row.input_ids);
  for (size_t begin = 0; begin < ids.size();) {
    const bool trained = row.labels[begin] != kIgnored;
    size_t end = begin;
    while (end < ids.size() && (row.labels[end] != kIgnored) == trained) {
      ++end;
    }
    const std::string text = run_text(ids.subspan(begin, end - begin), trained, tokenizer, color);
    out += trained && !color ? fmt::format("«{}»", text) : text;
    begin = end;
  }
  return out;
}

void show_row(const InspectedRow& row, const Tokenizer& tokenizer, Terminal& terminal) {
  const auto trained =
      std::ranges::count_if(row.example.labels, [](int32_t label) { return label != kIgnored; });
  terminal.print(fmt::format(
      "--- {}: {} tokens, {} trained{}", row.place, row.example.input_ids.size(), trained,
      row.dropped && row.stops.empty() ? " (training leaves this row out)" : ""));
  if (!row.stops.empty()) {
    terminal.print(fmt::format("!!! training stops at this row: {}", row.stops));
  }
  for (const std::string& flag : row.lost) {
    terminal.print(fmt::format("!!! lost in the rendering: {}", flag));
  }
  terminal.print_styled(marked(row.example, tokenizer, terminal.settings().out_color));
}

Json row_json(const InspectedRow& row) {
  Json out = {
      {"text", row.text}, {"input_ids", row.example.input_ids}, {"labels", row.example.labels}};
  if (!row.lost.empty()) {
    out["lost"] = row.lost;
  }
  if (!row.stops.empty()) {
    out["stops"] = row.stops;
  }
  return out;
}

void show_statistics(const InspectOptions& o, OpenRun& run, Terminal& terminal) {
  const DataOptions& data = run.options().data;
  const StepCount steps = o.eval ? StepCount() : run.steps();
  const Survey numbers = survey(run.rows(o.eval ? Part::eval : Part::train), data, run.data().pool);
  if (o.train.json) {
    Json out = to_json(numbers);
    if (!o.eval) {
      out["steps_per_epoch"] = steps.per_epoch;
    }
    terminal.print(to_text(Json{{"statistics", std::move(out)}}));
    return;
  }
  terminal.print("---");
  const TerminalSettings& settings = terminal.settings();
  for (const std::string& line : describe(numbers, data, settings.width, settings.utf8)) {
    terminal.print(line);
  }
  if (!o.eval) {
    terminal.print(fmt::format("steps      {} an epoch", with_commas(steps.per_epoch)));
  }
}

}  // namespace

int run_inspect(Args args, Terminal& terminal) {
  InspectOptions o;
  OptionTable table;
  o.visit(table);
  if (asks_for_help(args)) {
    terminal.print(
        "sft inspect [--limit N] [--eval] [--stats false] [--json] [training options]\n\n"
        "Shows rows as training would see them; what is trained is green, or stands between « and\n"
        "» where there is no colour. Then goes through all rows and shows their lengths, what\n"
        "max_length cuts, how much is trained, and how many steps an epoch has.\n"
        "--json prints one object a line for each row that training keeps (text, input_ids,\n"
        "labels) or stops at (stops), and last one with the member \"statistics\".");
    return 0;
  }
  ParsedOptions parsed = parse_options(table, args);
  const LaunchEnvironment launch = first_of_ranks(surrounding_launch());
  TrainOptions options = complete(o.train, std::move(parsed), {launch.world, launch.local_world});
  apply_environment(options.environment);
  options.data.dataset_order = "trl";  // all rows are counted
  const Logger log = terminal.logger(options.quiet, options.verbose);
  say_options(options, log);
  const HubEnvironment hub = hub_environment(terminal, log);
  RunSurroundings surroundings{log, hub};
  surroundings.environment = read_environment();
  surroundings.launch = launch;
  OpenRun run(options, surroundings);
  run.check_rows();
  const auto rows = inspect_rows(run.options().data, o.eval ? Part::eval : Part::train, run.data(),
                                 o.limit, o.train.json);
  for (const InspectedRow& row : rows) {
    if (o.train.json) {
      terminal.print(to_text(row_json(row)));
    } else {
      show_row(row, run.text().tokenizer, terminal);
    }
  }
  if (o.stats) {
    show_statistics(o, run, terminal);
  }
  return 0;
}

}  // namespace sft
