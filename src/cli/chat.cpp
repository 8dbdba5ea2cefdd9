// `sft chat`: a conversation with a model, or with two side by side; from a pipe one question a
// line.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "cli/chat_input.h"
#include "cli/commands.h"
#include "cli/model_run.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "core/file_writer.h"
#include "core/numbers.h"
#include "core/strings.h"
#include "options/parser.h"
#include "run/conversation.h"
#include "run/speaker.h"

namespace sft {

namespace {

constexpr const char* kHelp =
    R"(/system TEXT       what the model is told first; without TEXT: nothing
/reset             begin anew
/undo              take the last question back
/retry             another answer to it
/set NAME VALUE    temperature, top_k, top_p, do_sample, max_new_tokens, seed; alone: show them
/save FILE         the conversation as a row to train on
/exit              leave, as Ctrl-D does; Ctrl-C stops an answer
""" begins and ends a question of several lines)";

struct ChatOptions {
  TrainOptions run;  // of a run's options those of its model and device
  std::optional<std::string> system, adapter, against;
  ChatSettings settings;
  int64_t seed = 42, context = 4096;

  void visit(OptionTable& v) {
    v.group("Model");
    v("model_name_or_path", &run.model.model_name_or_path,
      "Model folder, checkpoint, .gguf file or hub id; a bare word is the same.")
        .also("model");
    v("adapter", &adapter,
      "An adapter's folder, put onto the model; alone, onto the one it names.");
    v("against", &against, "A second model that answers the same: before and after.");
    v("model_revision", &run.model.model_revision, "Branch, tag or commit of a hub id.");
    v("system", &system, "The system message.");
    v("chat_template_path", &run.data.chat_template_path,
      "Another template: a .jinja file or a model folder.");
    v.group("Sampling");
    v("max_new_tokens", &settings.max_new_tokens, "How long an answer may be.").at_least(1);
    v("do_sample", &settings.sampling.sample, "Draw tokens; otherwise the likeliest one.");
    settings.sampling.visit(v);
    v("seed", &seed, "The same seed draws the same text.").at_most(kMostSeed);
    v.group("Running");
    v("context", &context, "Tokens that a conversation may have; 0: as many as the model takes.")
        .at_least(0);
    visit_running(v, run, "One JSON object for each answer.", "Speed and tokens of each answer.");
  }
};

// One model that is open.
struct Opened {
  std::unique_ptr<OpenRun> run;
  std::unique_ptr<Speaker> speaker;
};

class Chat {
 public:
  Chat(const ChatOptions& options, std::vector<Opened> models, ChatInput& input, Terminal& terminal)
      : options_(options),
        settings_(options.settings),
        models_(std::move(models)),
        talk_(models_.size(), options.system),
        input_(input),
        terminal_(terminal),
        log_(terminal.logger(options.run.quiet, options.run.verbose)) {}

  void run() {
    if (input_.is_terminal()) {
      terminal_.say("/help lists the commands");
    }
    while (const auto line = next_line()) {
      const std::string said(trim(*line));
      if (said == "/exit" || said == "/quit" || said == "/bye") {
        return;
      }
      if (!said.empty()) {
        handle(said);
      }
    }
    if (input_.is_terminal()) {
      terminal_.write("\n");
    }
  }

 private:
  // A line, or several between two """.
  std::optional<std::string> next_line() {
    prompt(">>> ");
    bool interrupted = false;
    auto line = input_.line(interrupted);
    if (interrupted) {
      terminal_.write("\n");
      terminal_.say("/exit or Ctrl-D leaves");
      return "";
    }
    constexpr std::string_view kSeveral = "\"\"\"";
    if (!line || !trim(*line).starts_with(kSeveral)) {
      return line;
    }
    std::string text(trim(*line).substr(kSeveral.size()));
    while (!trim(text).ends_with(kSeveral)) {
      prompt("... ");
      const auto more = input_.line(interrupted);
      if (interrupted || !more) {
        return interrupted ? std::optional<std::string>("") : std::nullopt;
      }
      text += (text.empty() ? "" : "\n") + *more;
    }
    const std::string_view whole = trim(text);
    return std::string(whole.substr(0, whole.size() - kSeveral.size()));
  }

  void prompt(const char* text) {
    if (input_.is_terminal() && terminal_.settings().out_is_tty) {
      terminal_.write(text);
    }
  }

  // At a terminal what is wrong is said, and the conversation goes on.
  void handle(const std::string& line) {
    try {
      if (const auto command = chat_command(line)) {
        obey(*command);
      } else {
        talk_.ask(line);
        answer();
      }
    } catch (const Error& e) {
      if (!input_.is_terminal()) {
        throw;
      }
      terminal_.report(e);
    }
  }

  void obey(const ChatCommand& command) {
    if (command.name == "system") {
      talk_.set_system(command.rest);
    } else if (command.name == "reset") {
      talk_.reset();
    } else if (command.name == "undo") {
      say_unless(talk_.undo());
    } else if (command.name == "retry") {
      if (talk_.retry()) {
        ++settings_.sampling.seed;  // or it would be the same again
        answer();
      } else {
        say_unless(false);
      }
    } else if (command.name == "set") {
      set(command.rest);
    } else if (command.name == "save") {
      save(command.rest);
    } else if (command.name == "help" || command.name == "?") {
      terminal_.say(kHelp);
    } else {
      throw Error("C232", fmt::format("there is no command \"/{}\" in a chat", command.name))
          .hint("/help lists them");
    }
  }

  void say_unless(bool done) {
    if (!done) {
      terminal_.say("nothing was asked yet");
    }
  }

  void set(const std::string& words) {
    const size_t space = words.find(' ');
    if (!words.empty() && space != std::string::npos) {
      settings_.set(words.substr(0, space), std::string(trim(words.substr(space + 1))));
    }
    terminal_.say(settings_.text());
  }

  void save(const std::string& file) {
    if (file.empty()) {
      throw Error("C232", "/save needs the name of a file").hint("/save talk.jsonl");
    }
    std::string rows;
    for (size_t i = 0; i < models_.size(); ++i) {
      rows += to_text(Json{{"messages", talk_.messages(i)}}) + "\n";
    }
    write_text(file, rows);
    terminal_.say("saved " + file);
  }

  void answer() {
    for (size_t i = 0; i < models_.size(); ++i) {
      answer_of(i);
    }
  }

  void answer_of(size_t i) {
    Speaker& speaker = *models_[i].speaker;
    const bool json = options_.run.json;
    if (models_.size() > 1 && !json) {
      terminal_.write(fmt::format("[{}]\n", speaker.name()));
    }
    input_.take_interrupt();
    Answer answer;
    try {
      answer = speaker.answer(
          talk_.messages(i), settings_.max_new_tokens, settings_.sampling,
          [&](const std::string& piece) {
            if (!json) {
              terminal_.write(piece);
            }
          },
          [&] { return input_.take_interrupt(); });
    } catch (const Error&) {
      talk_.undo();
      throw;
    }
    talk_.answered(i, answer.text);
    const double speed = static_cast<double>(answer.written) / std::max(answer.seconds, 1e-9);
    if (json) {
      terminal_.print(to_text(Json{{"v", 1},
                                   {"model", speaker.name()},
                                   {"text", answer.text},
                                   {"prompt_tokens", answer.read + answer.kept},
                                   {"tokens", answer.written},
                                   {"ended", answer.ended},
                                   {"tokens_per_s", speed}}));
      return;
    }
    terminal_.write("\n");
    log_.detail(fmt::format("{} tokens read, {} known from before, {} written, {:.1f} a second",
                            answer.read, answer.kept, answer.written, speed));
  }

  const ChatOptions& options_;
  ChatSettings settings_;
  std::vector<Opened> models_;
  Conversation talk_;
  ChatInput& input_;
  Terminal& terminal_;
  Logger log_;
};

}  // namespace

int run_chat(Args args, Terminal& terminal) {
  ChatOptions o;
  OptionTable table;
  o.visit(table);
  if (asks_for_help(args)) {
    show_usage(fmt::format("sft chat MODEL [--against BASE] [options]\n\n{}", kHelp), table,
               terminal);
    return 0;
  }
  const ParsedOptions parsed = parse_options(table, args, {.positionals = true, .config = false});
  if (!o.run.model.model_name_or_path && parsed.positionals.size() == 1) {
    o.run.model.model_name_or_path = parsed.positionals[0];
  } else if (!parsed.positionals.empty()) {
    throw Error("C061", "one model is needed").hint("sft chat MODEL; --against takes a second");
  }
  if (!o.run.model.model_name_or_path && o.adapter) {
    o.run.model.model_name_or_path = o.adapter;
    o.adapter.reset();
  }
  require_model(o.run);
  o.settings.sampling.seed = static_cast<uint64_t>(o.seed);
  ChatInput input;  // before there are threads
  const Logger log = terminal.logger(o.run.quiet, o.run.verbose);
  const ModelRun model_run(o.run, terminal, log);
  const RunSurroundings& surroundings = model_run.surroundings();
  std::vector<Opened> models;
  const auto open = [&](const TrainOptions& options, const std::string& adapter) {
    Opened opened;
    opened.run = std::make_unique<OpenRun>(options, surroundings, Outputs::checked,
                                           RunParts{.only_used = true, .adapter = adapter});
    opened.speaker = std::make_unique<Speaker>(*opened.run, o.context);
    models.push_back(std::move(opened));
  };
  open(o.run, o.adapter.value_or(""));
  if (o.against) {
    TrainOptions other = o.run;
    other.model.model_name_or_path = *o.against;
    other.model.model_revision = ModelOptions().model_revision;
    open(other, "");
  }
  Chat(o, std::move(models), input, terminal).run();
  return 0;
}

}  // namespace sft
