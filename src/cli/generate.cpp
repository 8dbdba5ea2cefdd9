// `sft generate`: text or the answer to a chat message, with the key-value cache.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "cli/commands.h"
#include "cli/hub.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "core/numbers.h"
#include "options/parser.h"
#include "options/text.h"
#include "run/choose_device.h"
#include "run/generator.h"
#include "run/text_setup.h"
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
  std::optional<std::string> model_name_or_path;
  std::string model_revision = "main";
  std::optional<std::string> prompt, system, chat_template_path;
  bool chat = false;
  int64_t max_new_tokens = 128;
  bool do_sample = false;
  SamplingOptions sampling;
  int64_t seed = 42, threads = 0, quiet = 0, verbose = 0;
  bool use_cpu = false;
  bool json = false;
  std::string color = "auto";

  void visit(OptionTable& v) {
    v.group("Input");
    v("model_name_or_path", &model_name_or_path,
      "Model folder, .gguf file or hub id in the local cache.")
        .also("model");
    v("model_revision", &model_revision, "Branch, tag or commit of a hub id.");
    v("prompt", &prompt, "The text to go on from; a bare word on the command line is the same.");
    v("chat", &chat, "The prompt is a user's message: render it with the model's chat template.");
    v("system", &system, "The system message of the chat.");
    v("chat_template_path", &chat_template_path,
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
    v.group("Running");
    v("use_cpu", &use_cpu, "Use the CPU even where there is a GPU.");
    v("threads", &threads, "Threads to compute with; 0: the cores this process may use.")
        .at_most(kMostThreads);
    v("json", &json, "One JSON object: prompt, text, tokens, tokens_per_s.");
    v("color", &color, "auto, always or never.").one_of({"auto", "always", "never"});
    v("quiet", &quiet, "Only warnings (-qq: only errors).").short_name('q');
    v("verbose", &verbose, "More about what is done.").short_name('v');
    v.foreign(kForeign);
  }
};

std::string rendered_prompt(const GenerateOptions& o, const TextSetup& text) {
  if (!o.chat) {
    return *o.prompt;
  }
  if (!text.chat || text.chat_is_default) {
    throw Error("D071", fmt::format("{} has no chat template", *o.model_name_or_path))
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
  if (std::ranges::any_of(args, [](const std::string& a) { return a == "--help" || a == "-h"; })) {
    terminal.print("sft generate --model_name_or_path MODEL [options] PROMPT\n\n" +
                   help_text(table, {terminal.settings().width, terminal.settings().out_color}));
    return 0;
  }
  const ParsedOptions parsed = parse_options(table, args, {.positionals = true, .config = false});
  if (!o.prompt && parsed.positionals.size() == 1) {
    o.prompt = parsed.positionals[0];
  }
  if (!o.model_name_or_path || !o.prompt || parsed.positionals.size() > 1) {
    throw Error("C061", o.prompt ? "no model is given" : "one prompt is needed")
        .hint("sft generate --model_name_or_path MODEL --chat \"your question\"");
  }
  o.sampling.sample = o.do_sample;
  o.sampling.seed = static_cast<uint64_t>(o.seed);

  const Logger log = terminal.logger(o.quiet, o.verbose);
  for (const std::string& note : parsed.notes) {
    log.note(note);
  }
  const HubEnvironment hub = hub_environment(terminal, log);
  const auto source = ModelSource::open(*o.model_name_or_path, o.model_revision, hub);
  const Model shape = Model::from_config(source->config());  // before its weights are fetched
  DataOptions data;
  data.chat_template_path = o.chat_template_path;
  const TextSetup text = load_text(*source, data, hub);
  for (const std::string& warning : text.warnings) {
    log.warn(warning);
  }
  // A rendered chat brings its own special tokens.
  const std::vector<int32_t> prompt = text.tokenizer.encode(rendered_prompt(o, text), !o.chat);
  if (prompt.empty()) {
    throw Error("C061", "the prompt is empty").hint("give some text to go on from");
  }
  const int64_t room = static_cast<int64_t>(prompt.size()) + o.max_new_tokens;
  if (room > shape.config.max_positions) {
    throw Error("M037", fmt::format("{} prompt tokens and {} new ones are more than the model's {} "
                                    "positions",
                                    prompt.size(), o.max_new_tokens, shape.config.max_positions))
        .hint("shorten the prompt or lower --max_new_tokens");
  }
  const ChosenDevice chosen =
      choose_device({.use_cpu = o.use_cpu, .bf16 = {}, .threads = static_cast<int>(o.threads)}, {});
  Device* const device = chosen.device.get();
  const LoadedModel model = load_model(*source, *device, chosen.compute);
  log.detail(fmt::format("{} ({}), {}, on {}: {} prompt tokens", source->name(),
                         shape.config.architecture, source->format(), device->name(),
                         prompt.size()));
  Generator generator(*device, model, room);
  const std::vector<int32_t> ends = end_tokens(*source, text);
  StreamDecoder decoder(text.tokenizer, true);
  std::string written;
  int64_t tokens = 0;
  const auto show = [&](const std::string& piece) {
    written += piece;
    if (!o.json) {
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
  if (o.json) {
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
