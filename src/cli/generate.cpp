// `sft generate`: text or the answer to a chat message, with the key-value cache; or answers to a
// file of prompts.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "cli/commands.h"
#include "cli/model_run.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "core/numbers.h"
#include "data/prompts.h"
#include "io/adapter_files.h"
#include "options/parser.h"
#include "run/batch_writer.h"
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
  std::optional<std::string> prompt, prompts, system, adapter;
  int64_t batch_size = 8;
  std::vector<std::string> active;
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
      "An adapter's folder, put onto the model; alone, onto the one it names. Several have names: "
      "--adapter a=DIR --adapter b=DIR.");
    v("active", &active,
      "Of several adapters those that answer, in this order; base is the model without any. "
      "Without it all of them do.");
    v("model_revision", &run.model.model_revision, "Branch, tag or commit of a hub id.");
    v("prompt", &prompt, "The text to go on from; a bare word on the command line is the same.");
    v("prompts", &prompts,
      "A file of prompts instead: lines of text, or rows with a prompt or a conversation, of any "
      "format that data may have. Writes a line of JSON for each, in their order.");
    v("batch_size", &batch_size, "How many of them are answered at the same time.").at_least(1);
    v("chat", &chat, "The prompt is a user's message: render it with the model's chat template.");
    v("system", &system, "The system message of the chat.");
    v("chat_template_path", &run.data.chat_template_path,
      "Another template: a .jinja file or a model folder.");
    v.group("Sampling");
    v("max_new_tokens", &max_new_tokens, "How many tokens to write at most.").at_least(1);
    v("do_sample", &do_sample, "Draw tokens by their probability; otherwise the likeliest one.");
    sampling.visit(v);
    v("seed", &seed, "The same seed draws the same text.").at_most(kMostSeed);
    run.model.visit_quantisation(v);
    v.group("Running");
    visit_running(v, run, "One JSON object: text, tokens and their ids, tokens_per_s, ...",
                  "More about what is done.");
    v.foreign(kForeign);
  }
};

void require_template(const GenerateOptions& o, const TextSetup& text) {
  if (o.chat && (!text.chat || text.chat_is_default)) {
    throw Error("D071", fmt::format("{} has no chat template", *o.run.model.model_name_or_path))
        .hint("leave --chat out to go on from plain text, or give one with --chat_template_path");
  }
}

// An adapter's folder under a name.
struct NamedAdapter {
  std::string name;  // "": the only one
  std::string folder;
};

// Each --adapter of the command line, which are taken out of it: a flag that is repeated counts
// every time.
std::vector<NamedAdapter> take_adapters(std::vector<std::string>& args) {
  std::vector<NamedAdapter> out;
  for (size_t i = 0; i < args.size();) {
    std::string value;
    size_t taken = 0;
    if (args[i].starts_with("--adapter=")) {
      value = args[i].substr(std::string_view("--adapter=").size());
      taken = 1;
    } else if (args[i] == "--adapter" && i + 1 < args.size() && !args[i + 1].starts_with("-")) {
      value = args[i + 1];
      taken = 2;
    } else {
      ++i;
      continue;
    }
    const auto begin = args.begin() + static_cast<long>(i);
    args.erase(begin, begin + static_cast<long>(taken));
    const size_t equal = value.find('=');
    if (equal == std::string::npos || is_there(value)) {
      out.push_back({"", value});
    } else {
      out.push_back({value.substr(0, equal), value.substr(equal + 1)});
    }
  }
  return out;
}

// Which of them answer, in order. A null one is the model alone.
std::vector<const NamedAdapter*> find_active(const std::vector<NamedAdapter>& adapters,
                                             const std::vector<std::string>& names) {
  std::vector<std::string> known{"base"};
  for (const NamedAdapter& a : adapters) {
    if (adapters.size() > 1 && (a.name.empty() || std::ranges::count(known, a.name) > 0)) {
      throw Error("C198", a.name.empty()
                              ? fmt::format("of several adapters {} has no name", a.folder)
                              : fmt::format("two adapters are named {}", a.name))
          .hint("--adapter a=DIR --adapter b=DIR");
    }
    known.push_back(a.name);
  }
  std::vector<const NamedAdapter*> out;
  for (const std::string& name : names) {
    const auto found = std::ranges::find(adapters, name, &NamedAdapter::name);
    if (found == adapters.end() && name != "base") {
      known.erase(std::ranges::remove(known, "").begin(), known.end());
      throw Error("C198", fmt::format("--active {}: no --adapter has this name", name))
          .hint(fmt::format("there are {}", fmt::join(known, ", ")));
    }
    out.push_back(found == adapters.end() ? nullptr : &*found);
  }
  if (names.empty()) {
    for (const NamedAdapter& a : adapters) {
      out.push_back(&a);
    }
  }
  if (out.empty()) {
    out.push_back(nullptr);
  }
  return out;
}

// What one model, with its adapter if it has one, writes.
class Answer {
 public:
  Answer(const GenerateOptions& options, const Logger& log, Terminal& terminal)
      : o_(options), log_(log), terminal_(terminal) {}

  Json write(const NamedAdapter* adapter, const RunSurroundings& surroundings) {
    OpenRun run(o_.run, surroundings, Outputs::checked,
                {.only_used = true, .adapter = adapter != nullptr ? adapter->folder : ""});
    const ModelConfig& config = run.shape().config;
    require_template(o_, run.text());
    const std::vector<int32_t> prompt =
        prompt_of_text(*o_.prompt, {o_.chat, o_.system}, run.data()).ids;
    if (prompt.empty()) {
      throw Error("C061", "the prompt is empty").hint("give some text to go on from");
    }
    const int64_t room = room_for(prompt.size(), config, "");
    const LoadedModel& model = run.weights();
    log_.detail(fmt::format("{} ({}), {}, on {}: {} prompt tokens", run.source().name(),
                            config.architecture, run.source().format(), run.device().name(),
                            prompt.size()));
    return go_on(run, model, prompt, room);
  }

  // Answers all prompts of the file and prints a line for each; `name`: of the adapter, where there
  // are several.
  void write_all(const NamedAdapter* adapter, const std::string& name,
                 const RunSurroundings& surroundings) {
    OpenRun run(o_.run, surroundings, Outputs::checked,
                {.only_used = true, .adapter = adapter != nullptr ? adapter->folder : ""});
    require_template(o_, run.text());
    const std::vector<Prompt> prompts =
        prompts_of_file(*o_.prompts, {o_.chat, o_.system}, o_.run.data, run.data());
    int64_t room = 0;
    std::vector<std::vector<int32_t>> ids;
    std::vector<int64_t> numbers;
    for (const Prompt& prompt : prompts) {
      room = std::max(room, room_for(prompt.ids.size(), run.shape().config, prompt.place));
      ids.push_back(prompt.ids);
      numbers.push_back(static_cast<int64_t>(numbers.size()));
    }
    Generator generator(
        run.device(), run.weights(),
        GeneratorRoom{room, std::min(o_.batch_size, static_cast<int64_t>(prompts.size()))});
    BatchWriter writer(generator,
                       {o_.max_new_tokens, o_.sampling, end_tokens(run.source(), run.text())});
    const auto start = std::chrono::steady_clock::now();
    int64_t tokens = 0;
    std::map<size_t, std::string> ready;  // lines that wait for those before them
    size_t printed = 0;
    writer.write(ids, numbers, [&](size_t i, const Writing& writing) {
      tokens += static_cast<int64_t>(writing.ids.size());
      Json line{{"v", 1},
                {"index", i},
                {"prompt", prompts[i].shown},
                {"text", run.text().tokenizer.decode(writing.ids, true)},
                {"prompt_tokens", prompts[i].ids.size()},
                {"tokens", writing.ids.size()},
                {"ended", writing.ended}};
      if (prompts[i].reference) {
        line["reference"] = *prompts[i].reference;
      }
      if (!name.empty()) {
        line["adapter"] = name;
      }
      ready[i] = to_text(line);
      for (auto next = ready.begin(); next != ready.end() && next->first == printed; ++printed) {
        terminal_.print(next->second);
        next = ready.erase(next);
      }
    });
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    log_.detail(fmt::format("{} tokens for {} prompts in {:.1f} s, {:.1f} a second", tokens,
                            prompts.size(), seconds, static_cast<double>(tokens) / seconds));
  }

 private:
  int64_t room_for(size_t prompt, const ModelConfig& config, const std::string& place) const {
    const int64_t room = static_cast<int64_t>(prompt) + o_.max_new_tokens;
    if (room > config.max_positions) {
      throw Error("M037",
                  fmt::format("{} prompt tokens and {} new ones are more than the model's {} "
                              "positions",
                              prompt, o_.max_new_tokens, config.max_positions))
          .at(place)
          .hint("shorten the prompt or lower --max_new_tokens");
    }
    return room;
  }

  Json go_on(OpenRun& run, const LoadedModel& model, const std::vector<int32_t>& prompt,
             int64_t room) {
    const TextSetup& text = run.text();
    Generator generator(run.device(), model, room);
    const std::vector<int32_t> ends = end_tokens(run.source(), text);
    StreamDecoder decoder(text.tokenizer, true);
    std::string written;
    int64_t tokens = 0;
    const auto show = [&](const std::string& piece) {
      written += piece;
      if (!o_.run.json) {
        terminal_.write(piece);
      }
    };
    const auto now = [] { return std::chrono::steady_clock::now(); };
    const auto start = now();
    bool ended = false;
    std::vector<int32_t> ids;
    const std::span<const float> logits = generator.feed(prompt);
    const std::chrono::duration<double> reading = now() - start;
    generator.write(logits, o_.max_new_tokens, o_.sampling, [&](int32_t id) {
      ++tokens;
      ids.push_back(id);
      ended = std::ranges::find(ends, id) != ends.end();
      if (!ended) {
        show(decoder.push(id));
      }
      return !ended;
    });
    show(decoder.finish());
    const std::chrono::duration<double> writing = now() - start - reading;
    const double prompt_rate = static_cast<double>(prompt.size()) / reading.count();
    const double rate = static_cast<double>(tokens) / writing.count();
    log_.detail(fmt::format("{} tokens in {:.1f} s, {:.1f} a second (the prompt {:.1f}), {}",
                            tokens, writing.count(), rate, prompt_rate,
                            ended ? "to the end of the text"
                                  : "as many as --max_new_tokens "
                                    "allows"));
    return {{"v", 1},
            {"prompt_tokens", prompt.size()},
            {"text", written},
            {"tokens", tokens},
            {"ids", ids},
            {"ended", ended},
            {"tokens_per_s", rate},
            {"prompt_tokens_per_s", prompt_rate}};
  }

  const GenerateOptions& o_;
  const Logger& log_;
  Terminal& terminal_;
};

}  // namespace

int run_generate(Args given, Terminal& terminal) {
  GenerateOptions o;
  OptionTable table;
  o.visit(table);
  if (asks_for_help(given)) {
    show_usage("sft generate --model_name_or_path MODEL [options] PROMPT", table, terminal);
    return 0;
  }
  std::vector<std::string> args(given.begin(), given.end());
  const std::vector<NamedAdapter> adapters = take_adapters(args);
  const ParsedOptions parsed = parse_options(table, args, {.positionals = true, .config = false});
  if (!o.prompt && parsed.positionals.size() == 1) {
    o.prompt = parsed.positionals[0];
  }
  const std::vector<const NamedAdapter*> active = find_active(adapters, o.active);
  if (!o.run.model.model_name_or_path && !adapters.empty()) {
    const AdapterFiles first = AdapterFiles::read(adapters[0].folder);
    o.run.model.model_name_or_path = first.base();
    o.run.model.model_revision = first.config.base_revision.value_or("main");
  }
  require_model(o.run);
  if (o.prompt.has_value() == o.prompts.has_value() || parsed.positionals.size() > 1) {
    throw Error("C061", "one prompt is needed, or a file of them")
        .hint("sft generate --model_name_or_path MODEL --chat \"your question\"");
  }
  o.sampling.sample = o.do_sample;
  o.sampling.seed = static_cast<uint64_t>(o.seed);

  const Logger log = terminal.logger(o.run.quiet, o.run.verbose);
  for (const std::string& note : parsed.notes) {
    log.note(note);
  }
  const ModelRun model_run(o.run, terminal, log);
  const RunSurroundings& surroundings = model_run.surroundings();
  Json answers = Json::array();
  for (const NamedAdapter* const adapter : active) {
    const std::string name = adapter == nullptr ? "base" : adapter->name;
    if (o.prompts) {
      Answer(o, log, terminal).write_all(adapter, active.size() > 1 ? name : "", surroundings);
      continue;
    }
    if (active.size() > 1 && !o.run.json) {
      terminal.write(fmt::format("{}: ", name));
    }
    Json answer = Answer(o, log, terminal).write(adapter, surroundings);
    if (active.size() > 1) {
      answer["adapter"] = name;
    }
    answers.push_back(std::move(answer));
    if (!o.run.json) {
      terminal.write("\n");
    }
  }
  if (o.run.json && !o.prompts) {
    terminal.print(to_text(answers.size() == 1 ? answers[0] : answers));
  }
  return 0;
}

}  // namespace sft
