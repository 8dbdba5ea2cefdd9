// `sft inspect`: rows as training would see them, with the trained tokens marked.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "cli/commands.h"
#include "cli/hub.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "core/option_parser.h"
#include "core/option_text.h"
#include "data/dataset.h"
#include "train/options.h"
#include "train/text_setup.h"

namespace sft {

namespace {

struct InspectOptions {
  TrainOptions train;
  int64_t limit = 3;
  bool eval = false;

  void visit(OptionTable& v) {
    v.group("Inspection");
    v("limit", &limit, "How many rows to show.").at_least(1);
    v("eval", &eval, "The evaluation data in place of the training data.");
    train.visit(v);
  }
};

// The row's tokens as text, trained runs between « and » (and in colour on a terminal).
std::string marked(const Example& row, const Tokenizer& tokenizer, bool color) {
  std::string out;
  const std::span<const int32_t> ids(row.input_ids);
  for (size_t begin = 0; begin < ids.size();) {
    const bool trained = row.labels[begin] != kIgnored;
    size_t end = begin;
    while (end < ids.size() && (row.labels[end] != kIgnored) == trained) {
      ++end;
    }
    const std::string text = tokenizer.decode(ids.subspan(begin, end - begin), false);
    if (trained) {
      out += color ? fmt::format("\033[32m«{}»\033[0m", text) : fmt::format("«{}»", text);
    } else {
      out += text;
    }
    begin = end;
  }
  return out;
}

}  // namespace

int run_inspect(Args args, Terminal& terminal) {
  InspectOptions o;
  OptionTable table;
  o.visit(table);
  if (std::ranges::any_of(args, [](const std::string& a) { return a == "--help" || a == "-h"; })) {
    terminal.print(
        "sft inspect [--limit N] [--eval] [--json] [training options]\n\n"
        "Shows rows as training would see them; what is trained stands between « and ».\n"
        "--json prints one object a line for each row that training keeps: text, input_ids,\n"
        "labels.");
    return 0;
  }
  ParsedOptions parsed = parse_options(table, args);
  check_built(table, parsed);
  o.train.set_by = parsed.set_by;
  o.train = validate(o.train);
  require_inputs(o.train);
  const Logger log = terminal.logger(o.train.quiet, o.train.verbose);

  const HubEnvironment hub = hub_environment(terminal, log);
  const auto source =
      ModelSource::open(*o.train.model.model_name_or_path, o.train.model.model_revision, hub);
  const TextSetup text = load_text(*source, o.train.data);
  ThreadPool pool(1);
  const DataContext context{text.tokenizer,
                            text.chat ? &*text.chat : nullptr,
                            pool,
                            log,
                            hub,
                            static_cast<uint64_t>(o.train.seed)};
  const auto rows =
      inspect_rows(o.train.data, o.eval ? Part::eval : Part::train, context, o.limit, o.train.json);
  for (const InspectedRow& row : rows) {
    if (o.train.json) {
      terminal.print(Json{
          {"text", row.text}, {"input_ids", row.example.input_ids}, {"labels", row.example.labels}}
                         .dump());
      continue;
    }
    const auto trained =
        std::ranges::count_if(row.example.labels, [](int32_t label) { return label != kIgnored; });
    terminal.print(fmt::format("--- {}: {} tokens, {} trained{}", row.place,
                               row.example.input_ids.size(), trained,
                               row.dropped ? " (training leaves this row out)" : ""));
    terminal.print(marked(row.example, text.tokenizer, terminal.settings().out_color));
  }
  return 0;
}

}  // namespace sft
