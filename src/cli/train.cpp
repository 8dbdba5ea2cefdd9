// `sft --config …`: trains. The work is in run/run.cpp; here are the terminal and the signals.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <memory>
#include <optional>
#include <thread>

#include "cli/commands.h"
#include "cli/environment.h"
#include "cli/hub.h"
#include "cli/launch.h"
#include "cli/run_view.h"
#include "cli/signals.h"
#include "cli/terminal.h"
#include "cli/watch_page.h"
#include "core/error.h"
#include "core/file.h"
#include "core/strings.h"
#include "core/threads.h"
#include "hub/errors.h"
#include "report/page/report_files.h"
#include "run/run.h"
#include "run/run_plan.h"

namespace sft {

namespace {

// Takes this process's signals while it lives, on a thread of its own: every other thread, made
// after it, blocks them, so that none of them interrupts a kernel's inner loop.
class SignalThread {
 public:
  SignalThread() {
    ::sigemptyset(&taken_);
    for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) {
      ::sigaddset(&taken_, signal);
    }
    ::pthread_sigmask(SIG_BLOCK, &taken_, &before_);
    std::signal(SIGHUP, SIG_IGN);  // the terminal goes, the run stays
    thread_ = start_thread("signals", [this] { work(); });
  }
  ~SignalThread() {
    ending_ = true;
    ::pthread_kill(thread_.native_handle(), SIGUSR1);
    thread_.join();
    std::signal(SIGUSR1, SIG_IGN);  // one that comes too late
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  SignalThread(const SignalThread&) = delete;
  SignalThread& operator=(const SignalThread&) = delete;

  std::atomic<int> stop{0};              // the signal that ends the run
  std::atomic<int> save{0};              // not 0: a checkpoint is wanted
  std::atomic<bool> in_training{false};  // there is something to save

 private:
  void work() {
    while (true) {
      const int signal = next(nullptr);
      if (ending_) {
        return;
      }
      if (signal == SIGUSR1) {
        save = 1;
      } else if (signal > 0) {
        end(signal);
        return;
      }
    }
  }

  // The second signal ends the program at once. Where there is nothing to save the first does so
  // too, two seconds later, so that a transfer can end in order.
  void end(int first) {
    stop = first;
    const bool saving = in_training;
    say_at_once(saving ? "\nstopping after this step and saving; a second signal ends at once\n"
                       : "\nstopping; there is nothing to save yet\n");
    const timespec patience{2, 0};
    int second = SIGUSR1;
    while (second == SIGUSR1) {
      second = next(saving ? nullptr : &patience);
      if (ending_) {
        return;
      }
    }
    ::_exit(128 + (second > 0 ? second : first));
  }

  // -1 when `patience` is over.
  int next(const timespec* patience) const {
    int signal = -1;
    do {
      signal = patience == nullptr ? ::sigwaitinfo(&taken_, nullptr)
                                   : ::sigtimedwait(&taken_, nullptr, patience);
    } while (signal < 0 && errno == EINTR);
    return signal;
  }

  sigset_t taken_{}, before_{};
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

// How to go on after a stop, from what is there.
std::string advice(const std::string& checkpoint) {
  if (checkpoint.empty() || !is_folder(checkpoint)) {
    return "nothing was saved";
  }
  return is_there(fs::path(checkpoint) / "sft_state.json")
             ? fmt::format("go on with  --resume_from_checkpoint {}", shell_word(checkpoint))
             : fmt::format(
                   "{} holds the model alone (--save_only_model): a new run from it is  "
                   "--model_name_or_path {}",
                   checkpoint, shell_word(checkpoint));
}

void say_what_next(const TrainOptions& options, const Logger& log) {
  const std::string folder = shell_word(options.output_dir);
  log.note(fmt::format("next:  sft generate --model_name_or_path {} --chat \"Hello!\"", folder));
  log.note(fmt::format("seen:  {}  (all runs side by side:  sft watch DIR ...)",
                       (fs::path(options.output_dir) / kReportFile).string()));
}

int exit_code(const TrainOutcome& outcome, const Logger& log) {
  if (outcome.stopped_by == 0) {
    return 0;
  }
  log.warn(fmt::format("stopped at step {}; {}", outcome.steps, advice(outcome.last_checkpoint)));
  return static_cast<int>(outcome.stopped_by == SIGINT ? ExitCode::sigint : ExitCode::sigterm);
}

// --dry_run: what the run would do and take. No folder is made.
int say_plan(const TrainOptions& options, const RunSurroundings& surroundings, Terminal& terminal) {
  const RunPlan plan = plan_training(options, surroundings);
  if (options.json) {
    terminal.print(to_text(to_json(plan)));
    return 0;
  }
  const TerminalSettings& settings = terminal.settings();
  for (const std::string& line : describe(plan, options, settings.width, settings.utf8)) {
    terminal.print(line);
  }
  return 0;
}

// All that must be the same on every rank, key by key, so that a difference can be named.
void agree_on(RankControl& control, const TrainOptions& options) {
  Facts facts = {{"version", SFT_VERSION}};
  const Json values = option_values(options);
  for (const auto& [key, value] : values.items()) {
    facts.emplace_back(key, to_text(value));
  }
  control.agree("configuration", facts);
}

// A scheduler that starts one process for each machine means it to start the ranks there.
bool starts_ranks(const LaunchEnvironment& launch) {
  if (launch.role != LaunchEnvironment::Role::launcher) {
    return false;
  }
  return launch.nodes > 1 || launch.local_world > 1 || launch.max_restarts > 0;
}

}  // namespace

int run_train(Args args, Terminal& terminal) {
  const LaunchEnvironment launch = surrounding_launch();
  const LaunchEnvironment planned = first_of_ranks(launch);
  TrainOptions options = read_train_options(args, {planned.world, planned.local_world});
  options.output_dir = at_home(options.output_dir, read_environment());
  apply_environment(options.environment);
  require_secret(options.distributed.require_token,
                 launch.role == LaunchEnvironment::Role::launcher ? launch.nodes : launch.world,
                 launch.token);
  if (starts_ranks(launch) && !options.dry_run) {
    return launch_ranks(args, launch, terminal);
  }
  const bool first = launch.rank == 0;
  const Logger log = first ? terminal.logger(options.quiet, options.verbose) : Logger();
  say_options(options, log);
  const bool bar = first && !options.disable_tqdm.value_or(false);
  RunView view(terminal, bar);
  SignalThread signals;  // before any other thread is made
  HubEnvironment hub = hub_environment(terminal, log, bar, &signals.stop);
  hub.verify = options.model.verify;
  RunSurroundings surroundings{log, hub, &signals.stop, &signals.save};
  surroundings.on_training = [&] { signals.in_training = true; };
  surroundings.version = SFT_VERSION;
  surroundings.environment = read_environment();
  load_cudnn(surroundings.environment, log);
  surroundings.launch = options.dry_run ? planned : launch;
  if (options.dry_run && !first) {
    return 0;  // the first rank says it
  }
  if (options.dry_run) {
    return say_plan(options, surroundings, terminal);
  }
  surroundings.argv.assign(args.begin(), args.end());
  if (first && !options.json && !terminal.settings().out_is_tty) {
    surroundings.print = [&](std::string_view line) { terminal.print(line); };
  }
  if (launch.source != LaunchEnvironment::Source::alone) {
    log.note(launch.found);
  } else if (!launch.note.empty()) {
    log.note(launch.note);
  }
  if (launch.world > 1 && launch.token.empty()) {
    log.note(no_secret_line(launch.store_ports().front()));
  }
  const auto control =
      join_ranks(launch, static_cast<double>(options.distributed.ddp_timeout), terminal);
  surroundings.control = control.get();
  std::optional<PageBeside> page;
  if (first && options.report.watch) {
    WatchPage opened = open_page({options.output_dir}, options.report, [] {
      ::kill(::getpid(), SIGTERM);  // as anybody's: SignalThread takes it
      return std::string("the run stops after this step and saves");
    });
    for (const std::string& line : where_it_is(opened, options.report)) {
      terminal.say(line);
    }
    page.emplace(std::move(opened));
  }
  surroundings.on_stage = [&](std::string_view what) { view.stage(what); };
  surroundings.on_line = [&](const Json& line) {
    if (options.json && first) {  // as metrics.jsonl has them, and nothing else
      terminal.print(to_text(line));
    } else {
      view.line(line);
    }
  };
  surroundings.on_step = [&](int64_t done, int64_t total, std::string_view tail) {
    view.step(done, total, tail);
  };
  surroundings.on_eval_batch = [&](int64_t done, int64_t total) { view.eval_batch(done, total); };
  TrainOutcome outcome;
  try {
    run_as_rank(*control, [&] {
      agree_on(*control, options);
      outcome = run_training(options, surroundings);
    });
  } catch (const Error& e) {
    if (e.code() != kStoppedAtHub || signals.stop == 0) {
      throw;
    }
    outcome.stopped_by = signals.stop;  // while something was fetched or sent
  }
  view.finish();
  if (first && outcome.stopped_by == 0) {
    say_what_next(options, log);
  }
  return exit_code(outcome, log);
}

}  // namespace sft
