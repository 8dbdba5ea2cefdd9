// `sft generate`: text or the answer to a chat message, with the key-value cache.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "cli/commands.h"
#include "cli/environment.h"
#include "cli/hub.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "core/numbers.h"
#include "options/parser.h"
#include "run/generator.h"
#include "run/open_run.h"
#include "settings/train_options.h"

namespace sft {

namespace {

// What other programs call these.
constexpr ForeignNames kForeign[] = {
    {"max_tokens max_length n_predict num_predict max_completion_tokens n_tokens tokens length",
     "max_new_tokens", ""},
    {"temp t", "temperature", ""},
    {"sample sampling", "do_sample", ""},
    {"topk", "top_k", ""},
    {"topp nucleus", "top_p", ""},
    {"system_prompt sys", "system", ""},
    {"text input question message", "prompt", ""},
    {"tokenizer", "", "the tokenizer is the model's own"},
    {"device cpu", "use_cpu", "(a GPU is used where there is one)"},
};

struct GenerateOptions {
  TrainOptions run;  // of a run's options those of its model and device
  std::optional<std::string> prompt, system, adapter;
  bool chat = false;
  int64_t max_new_tokens = 128;
  bool do_sample = false;
  SamplingOptions sampling;
  int64_t seed = 42;

  void visit(OptionTable& v) {
    v.group("Input");
    v("model_name_or_path", &run.model.model_name_or_path,
      "Model folder, .gguf file or hub id in the local cache.")
        .also("model");
    v("adapter", &adapter,
      "An adapter's folder, put onto the model; alone, onto the one it names.");
    v("model_revision", &run.model.model_revision, "Branch, tag or commit of a hub id.");
    v("prompt", &prompt, "The text to go on from; a bare word on the command line is the same.");
    v("chat", &chat, "The prompt is a user's message: render it with the model's chat template.");
    v("system", &system, "The system message of the chat.");
    v("chat_template_path", &run.data.chat_template_path,
      "Another template: a .jinja file or a model folder.");
    v.group("Sampling");
    v("max_new_tokens", &max_new_tokens, "How many tokens to write at most.").at_least(1);
    v("do_sample", &do_sample, "Draw tokens by their probability; otherwise the likeliest one.");
    v("temperature", &sampling.temperature, "Below 1: sharper; above: more varied.").above(0);
    v("top_k", &sampling.top_k, "Only the K likeliest tokens; 0: all.").at_least(0);
    v("top_p", &sampling.top_p, "Only the likeliest tokens with this probability together.")
        .above(0)
        .at_most(1);
    v("seed", &seed, "The same seed draws the same text.").at_most(kMostSeed);
    run.model.visit_quantisation(v);
    v.group("Running");
    v("use_cpu", &run.use_cpu, "Use the CPU even where there is a GPU.");
    v("threads", &run.threads, "Threads to compute with; 0: the cores this process may use.")
        .at_most(kMostThreads);
    v("json", &run.json, "One JSON object: prompt, text, tokens, tokens_per_s.");
    v("color", &run.color, "auto, always or never.").one_of({"auto", "always", "never"});
    v("quiet", &run.quiet, "Only warnings (-qq: only errors).").short_name('q');
    v("verbose", &run.verbose, "More about what is done.").short_name('v');
    v.foreign(kForeign);
  }
};

std::string rendered_prompt(const GenerateOptions& o, const TextSetup& text) {
  if (!o.chat) {
    return *o.prompt;
  }
  if (!text.chat || text.chat_is_default) {
    throw Error("D071", fmt::format("{} has no chat template", *o.run.model.model_name_or_path))
        .hint("leave --chat out to go on from plain text, or give one with --chat_template_path");
  }
  Json messages = Json::array();
  if (o.system) {
    messages.push_back({{"role", "system"}, {"content", *o.system}});
  }
  messages.push_back({{"role", "user"}, {"content", *o.prompt}});
  RenderOptions render;
  render.add_generation_prompt = true;
  return text.chat->render(messages, render).text;
}

}  // namespace

int run_generate(Args args, Terminal& terminal) {
  GenerateOptions o;
  OptionTable table;
  o.visit(table);
  if (asks_for_help(args)) {
    show_usage("sft generate --model_name_or_path MODEL [options] PROMPT", table, terminal);
    return 0;
  }
  const ParsedOptions parsed = parse_options(table, args, {.positionals = true, .config = false});
  if (!o.prompt && parsed.positionals.size() == 1) {
    o.prompt = parsed.positionals[0];
  }
  if (!o.run.model.model_name_or_path && o.adapter) {
    o.run.model.model_name_or_path = o.adapter;
    o.adapter.reset();
  }
  require_model(o.run);
  if (!o.prompt || parsed.positionals.size() > 1) {
    throw Error("C061", "one prompt is needed")
        .hint("sft generate --model_name_or_path MODEL --chat \"your question\"");
  }
  o.sampling.sample = o.do_sample;
  o.sampling.seed = static_cast<uint64_t>(o.seed);

  const Logger log = terminal.logger(o.run.quiet, o.run.verbose);
  for (const std::string& note : parsed.notes) {
    log.note(note);
  }
  const HubEnvironment hub = hub_environment(terminal, log);
  // What is said of a run beside warnings is detail here.
  const Logger run_log =
      terminal.logger(o.run.verbose > 0 ? 0 : std::max<int64_t>(o.run.quiet, 1), o.run.verbose);
  RunSurroundings surroundings{run_log, hub};
  surroundings.environment = read_environment();
  load_cudnn(surroundings.environment, run_log);
  OpenRun run(o.run, surroundings, Outputs::checked, {.adapter = o.adapter.value_or("")});
  const ModelConfig& config = run.shape().config;
  const TextSetup& text = run.text();
  // A rendered chat brings its own special tokens.
  const std::vector<int32_t> prompt = text.tokenizer.encode(rendered_prompt(o, text), !o.chat);
  if (prompt.empty()) {
    throw Error("C061", "the prompt is empty").hint("give some text to go on from");
  }
  const int64_t room = static_cast<int64_t>(prompt.size()) + o.max_new_tokens;
  if (room > config.max_positions) {
    throw Error("M037", fmt::format("{} prompt tokens and {} new ones are more than the model's {} "
                                    "positions",
                                    prompt.size(), o.max_new_tokens, config.max_positions))
        .hint("shorten the prompt or lower --max_new_tokens");
  }
  const LoadedModel& model = run.weights();
  log.detail(fmt::format("{} ({}), {}, on {}: {} prompt tokens", run.source().name(),
                         config.architecture, run.source().format(), run.device().name(),
                         prompt.size()));
  Generator generator(run.device(), model, room);
  const std::vector<int32_t> ends = end_tokens(run.source(), text);
  StreamDecoder decoder(text.tokenizer, true);
  std::string written;
  int64_t tokens = 0;
  const auto show = [&](const std::string& piece) {
    written += piece;
    if (!o.run.json) {
      terminal.write(piece);
    }
  };
  const auto start = std::chrono::steady_clock::now();
  bool ended = false;
  generator.generate(prompt, o.max_new_tokens, o.sampling, [&](int32_t id) {
    ++tokens;
    ended = std::ranges::find(ends, id) != ends.end();
    if (!ended) {
      show(decoder.push(id));
    }
    return !ended;
  });
  show(decoder.finish());
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  log.detail(fmt::format("{} tokens in {:.1f} s, {}", tokens, seconds,
                         ended ? "to the end of the text" : "as many as --max_new_tokens allows"));
  if (o.run.json) {
    const Json result = {
        {"v", 1},          {"prompt_tokens", prompt.size()},
        {"text", written}, {"tokens", tokens},
        {"ended", ended},  {"tokens_per_s", static_cast<double>(tokens) / seconds}};
    terminal.print(to_text(result));
  } else {
    terminal.write("\n");
  }
  return 0;
}

}  // namespace sft
