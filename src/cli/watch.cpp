// `sft watch` and `sft report`: runs as a page that follows them, and as a file.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>

#include "cli/commands.h"
#include "cli/terminal.h"
#include "cli/watch_page.h"
#include "core/error.h"
#include "core/file.h"
#include "core/host_name.h"
#include "core/strings.h"
#include "options/parser.h"
#include "report/page/report_files.h"
#include "report/page/run_facts.h"

namespace sft {

namespace {

struct WatchOptions {
  ReportOptions report;
  std::vector<std::string> folders;
  bool json = false;
  std::string color = "auto";

  void visit(OptionTable& v) {
    v.group("Runs");
    v("folders", &folders, "output_dirs of runs; bare words are the same. None: trainer_output.");
    v.group("The page");
    v("watch_host", &report.watch_host,
      "Where it is served; 0.0.0.0 lets other machines reach it, with the address's token.");
    v("watch_port", &report.watch_port, "Its port; 0: any that is free.").at_most(65535);
    v("price_per_hour", &report.price_per_hour, "What an hour of the machine costs.");
    v("json", &json, "One JSON object: how the runs stand; no page.");
    v("color", &color, "auto, always or never.").one_of({"auto", "always", "never"});
  }
};

double unix_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

WatchOptions read_options(Args args, const char* usage, Terminal& terminal, bool& helped) {
  WatchOptions o;
  OptionTable table;
  o.visit(table);
  helped = asks_for_help(args);
  if (helped) {
    show_usage(usage, table, terminal);
    return o;
  }
  const ParsedOptions parsed = parse_options(table, args, {.positionals = true, .config = false});
  o.folders.insert(o.folders.end(), parsed.positionals.begin(), parsed.positionals.end());
  if (o.folders.empty()) {
    o.folders.emplace_back("trainer_output");
  }
  for (const std::string& folder : o.folders) {
    if (!is_run_folder(folder)) {
      throw Error("C187", fmt::format("{} holds no run: there is no metrics.jsonl in it and no "
                                      "trainer_state.json",
                                      folder))
          .hint("name the output_dir of a run");
    }
  }
  return o;
}

// The process of a run that trains on this machine; 0 where it does not, or is not known to. A
// number may have gone to another process since: that one is no sft, or began later.
pid_t process_of(const RunHistory& run) {
  const auto pid = number_at(run.about(), "pid");
  if (!pid || *pid < 2 || !run.end().is_null() || text_at(run.about(), "host") != host_name()) {
    return 0;
  }
  const auto id = static_cast<pid_t>(*pid);
  std::error_code failed;
  const fs::path folder = fmt::format("/proc/{}", id);
  const fs::path program = fs::read_symlink(folder / "exe", failed);
  const fs::path own = fs::read_symlink("/proc/self/exe", failed);
  return !failed && program.filename() == own.filename() && ::kill(id, 0) == 0 ? id : 0;
}

Json facts_json(const ShownRun& run, std::optional<double> price) {
  const RunFacts f = facts_of(*run.history, unix_now(), price);
  Json out{{"folder", run.folder}, {"status", f.status}, {"step", f.step}};
  const auto add = [&](const char* name, const auto& value) {
    if (value) {
      out[name] = *value;
    }
  };
  add("total_steps", f.total);
  add("loss", f.loss);
  add("best_eval_loss", f.best_eval);
  if (f.best_eval) {
    out["best_step"] = f.best_step;
  }
  add("tokens_per_s", f.tokens_per_s);
  add("mfu", f.mfu);
  out["elapsed_s"] = f.elapsed_s;
  add("left_s", f.left_s);
  add("kwh", f.kwh);
  add("kwh_left", f.kwh_left);
  add("cost", f.cost);
  add("cost_left", f.cost_left);
  return out;
}

std::string stop_run(const fs::path& folder) {
  RunFollower run(folder);
  run.read_all();
  const pid_t process = process_of(run.history());
  if (process == 0) {
    throw Error("C187", "the run is over, or trains on another machine");
  }
  if (::kill(process, SIGTERM) != 0) {
    throw Error("C187", fmt::format("the run's process cannot be told: {}", std::strerror(errno)));
  }
  return "the run stops after this step and saves";
}

}  // namespace

int run_watch(Args args, Terminal& terminal) {
  bool helped = false;
  const WatchOptions o = read_options(
      args,
      "sft watch [options] [DIR ...]\n\nserves a page that shows runs, while they train and "
      "after; a folder that TRL made is shown too",
      terminal, helped);
  if (helped) {
    return 0;
  }
  if (o.json) {
    Json runs = Json::array();
    for (const std::string& folder : o.folders) {
      RunFollower run(folder);
      run.read_all();
      runs.push_back(facts_json(shown(run), o.report.price_per_hour));
    }
    terminal.print(to_text({{"v", 1}, {"runs", runs}}));
    return 0;
  }
  const std::vector<fs::path> folders(o.folders.begin(), o.folders.end());
  std::function<std::string()> stop;
  if (folders.size() == 1) {
    RunFollower run(folders[0]);
    run.read_all();
    if (process_of(run.history()) != 0) {
      stop = [folder = folders[0]] { return stop_run(folder); };
    }
  }
  const WatchPage page = open_page(folders, o.report, stop);
  for (const std::string& line : where_it_is(page, o.report)) {
    terminal.say(line);
  }
  terminal.say("Ctrl-C ends the page; a run goes on without it");
  page.server->work();
  return 0;
}

int run_report(Args args, Terminal& terminal) {
  bool helped = false;
  const WatchOptions o = read_options(
      args,
      "sft report [options] [DIR ...]\n\ndraws report.html and loss.svg of runs from what "
      "their metrics.jsonl says",
      terminal, helped);
  if (helped) {
    return 0;
  }
  Json written = Json::array();
  for (const std::string& folder : o.folders) {
    RunFollower run(folder);
    write_report(run, unix_now(), o.report.price_per_hour);
    const std::string path = (fs::path(folder) / kReportFile).string();
    if (o.json) {
      Json facts = facts_json(shown(run), o.report.price_per_hour);
      facts["report"] = path;
      written.push_back(std::move(facts));
    } else {
      terminal.print(path);
    }
  }
  if (o.json) {
    terminal.print(to_text({{"v", 1}, {"runs", written}}));
  }
  return 0;
}

}  // namespace sft
