// `sft export`: a model or an adapter as a GGUF file, for llama.cpp, Ollama and LM Studio.
#include "run/export.h"

#include "cli/commands.h"
#include "cli/hub.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "core/json.h"
#include "core/numbers.h"
#include "core/thread_pool.h"
#include "options/parser.h"

namespace sft {

namespace {

struct Words {
  ExportOptions o;
  std::string to = "gguf";
  int64_t threads = 0, quiet = 0;
  bool json = false;

  void visit(OptionTable& v) {
    v.group("Export");
    v("model_name_or_path", &o.model,
      "A model's folder, a checkpoint, a .gguf file, a hub id, or an adapter's folder; a bare word "
      "on the command line is the same.")
        .also("model");
    v("to", &to, "The kind of file.").one_of({"gguf"});
    v("quant", &o.quant,
      "f32, f16, bf16, q8_0, q4_0, q4_1, q4_k_m, q5_k_m or q6_k; an adapter takes the first four.");
    v("output", &o.output, "The file, or a folder for it; without it the model's own folder.");
    v("base", &o.base, "An adapter's base; without it the one that the adapter names.");
    v("pre", &o.pre,
      "llama.cpp's name for how the tokenizer cuts words, where it cannot be found.");
    v("threads", &threads, "Threads; 0: the cores this process may use.").at_most(kMostThreads);
    v("json", &json, "What was written as one JSON object.");
    v("quiet", &quiet, "Only warnings.").short_name('q');
  }
};

}  // namespace

int run_export(Args args, Terminal& terminal) {
  Words words;
  OptionTable table;
  words.visit(table);
  if (asks_for_help(args)) {
    show_usage("sft export DIR [--to gguf] [--quant q4_k_m] [options]", table, terminal);
    return 0;
  }
  const ParsedOptions parsed = parse_options(table, args, {.positionals = true, .config = false});
  if (words.o.model.empty() && parsed.positionals.size() == 1) {
    words.o.model = parsed.positionals[0];
  } else if (words.o.model.empty() || !parsed.positionals.empty()) {
    throw Error("C061", "one model is needed").hint("sft export DIR --quant q4_k_m");
  }
  const Logger log = terminal.logger(words.quiet, 0);
  ThreadPool pool(words.threads > 0 ? static_cast<int>(words.threads) : default_threads());
  const ExportReport report = export_gguf(words.o, hub_environment(terminal, log), pool, log);
  if (words.json) {
    terminal.print(to_text(Json{{"v", 1},
                                {"file", report.file.string()},
                                {"modelfile", report.modelfile.string()},
                                {"bytes", report.bytes}}));
  }
  return 0;
}

}  // namespace sft
