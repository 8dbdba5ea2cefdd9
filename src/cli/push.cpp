// `sft push`: a folder's model, adapter, GGUF files, card and report to the hub, as one commit.
#include <fmt/format.h>

#include "cli/environment.h"
#include "cli/hub.h"
#include "cli/model_commands.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "core/file.h"
#include "options/parser.h"
#include "run/hub_push.h"
#include "settings/train_options.h"

namespace sft {

namespace {

struct Words {
  TrainOptions run;  // of a run's options those of the hub
  std::string folder;

  void visit(OptionTable& v) {
    v.group("Push");
    v("folder", &folder,
      "What is pushed: all files but checkpoints and those that begin with . or _; a bare word on "
      "the command line is the same.");
    v("hub_model_id", &run.hub.hub_model_id,
      "Repository to upload to; without one, the folder's name.");
    v("hub_token", &run.hub.hub_token, "Token to upload with; better in HF_TOKEN.").secret();
    v("hub_private_repo", &run.hub.hub_private_repo, "Make the repository private.");
    v("hub_revision", &run.hub.hub_revision, "Branch to upload to.");
    v("message", &message, "Of the commit.");
    v("json", &run.json, "The commit as one JSON object.");
    v("quiet", &run.quiet, "Only warnings.").short_name('q');
  }

  std::string message = "Upload model";
};

}  // namespace

int run_push(Args args, Terminal& terminal) {
  Words words;
  OptionTable table;
  words.visit(table);
  if (asks_for_help(args)) {
    show_usage("sft push DIR [--hub_model_id owner/name] [options]", table, terminal);
    return 0;
  }
  const ParsedOptions parsed = parse_options(table, args, {.positionals = true, .config = false});
  if (words.folder.empty() && parsed.positionals.size() == 1) {
    words.folder = parsed.positionals[0];
  } else if (words.folder.empty() || !parsed.positionals.empty()) {
    throw Error("C061", "one folder is needed").hint("sft push DIR --hub_model_id owner/name");
  }
  if (!is_folder(words.folder)) {
    throw Error("C061", fmt::format("{} is no folder", words.folder))
        .hint("sft push DIR --hub_model_id owner/name");
  }
  const Logger log = terminal.logger(words.run.quiet, 0);
  if (!is_there(fs::path(words.folder) / "README.md")) {
    log.warn(fmt::format("{} has no README.md: the repository will have no card", words.folder));
  }
  words.run.output_dir = words.folder;
  words.run.hub.push_to_hub = true;
  HubPush push(words.run, hub_environment(terminal, log), log);
  const auto commit = push.commit_folder(words.folder, words.message);
  if (words.run.json) {
    terminal.print(to_text(Json{{"v", 1},
                                {"repository", push.repository()},
                                {"commit", commit ? Json(commit->commit) : Json()},
                                {"url", commit ? Json(commit->url) : Json()},
                                {"files", commit ? commit->files : 0}}));
  }
  return 0;
}

}  // namespace sft
