// `sft --config …`: trains. The work is in train/run.cpp; here are the terminal and the signals.
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <memory>

#include "cli/commands.h"
#include "cli/hub.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "train/run.h"
#include "train/run_plan.h"

namespace sft {

namespace {

// A signal handler can reach nothing but a global.
std::atomic<int> stop_signal{0};    // NOLINT
std::atomic<int> save_signal{0};    // NOLINT
std::atomic<bool> training{false};  // NOLINT

void say_at_once(std::string_view text) {
  const auto ignored = ::write(STDERR_FILENO, text.data(), text.size());
  (void)ignored;
}

// The second one ends the program at once, and so does the first where there is nothing to save:
// two seconds later, so that a transfer can end in order.
void on_stop(int signal) {
  if (stop_signal != 0) {
    ::_exit(128 + signal);
  }
  stop_signal = signal;
  if (training) {
    say_at_once("\nstopping after this step and saving; a second signal ends at once\n");
  } else {
    say_at_once("\nstopping; there is nothing to save yet\n");
    ::alarm(2);
  }
}

void on_alarm(int) { ::_exit(128 + stop_signal); }

void on_save(int) { save_signal = 1; }

// A mapped file that was cut short, or that the disk fails to give.
void on_bus_error(int) {
  say_at_once(
      "\nerror[S050]: a file that is mapped cannot be read: it was made shorter, or the disk "
      "fails\n");
  ::_exit(static_cast<int>(ExitCode::io));
}

void handle(int signal, void (*handler)(int)) {
  struct sigaction action{};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  ::sigaction(signal, &action, nullptr);
}

void handle_signals() {
  handle(SIGINT, on_stop);
  handle(SIGTERM, on_stop);
  handle(SIGALRM, on_alarm);
  handle(SIGUSR1, on_save);
  handle(SIGHUP, SIG_IGN);  // the terminal goes, the run stays
  handle(SIGBUS, on_bus_error);
}

int exit_code(const TrainOutcome& outcome, const Logger& log) {
  if (outcome.stopped_by == 0) {
    return 0;
  }
  log.warn(fmt::format(
      "stopped at step {}; {}", outcome.steps,
      outcome.last_checkpoint.empty()
          ? "nothing was saved"
          : fmt::format("go on with  --resume_from_checkpoint {}", outcome.last_checkpoint)));
  return static_cast<int>(outcome.stopped_by == SIGINT ? ExitCode::sigint : ExitCode::sigterm);
}

// --dry_run: what the run would do and take. No folder is made and no signal handled.
int say_plan(const TrainOptions& options, const RunSurroundings& surroundings, Terminal& terminal) {
  const RunPlan plan = plan_training(options, surroundings);
  if (options.json) {
    terminal.print(to_json(plan).dump());
    return 0;
  }
  const TerminalSettings& settings = terminal.settings();
  for (const std::string& line : describe(plan, options, settings.width, settings.utf8)) {
    terminal.print(line);
  }
  return 0;
}

}  // namespace

int run_train(Args args, Terminal& terminal) {
  std::vector<std::pair<std::string, std::string>> environment;
  const TrainOptions options = read_train_options(args, &environment);
  apply_environment(environment);
  const Logger log = terminal.logger(options.quiet, options.verbose);
  for (const std::string& note : options.notes) {
    log.note(note);
  }
  for (const std::string& detail : options.details) {
    log.detail(detail);
  }
  std::unique_ptr<Progress> steps, batches;
  const bool bar = !options.disable_tqdm.value_or(false);
  const HubEnvironment hub = hub_environment(terminal, log, bar, &stop_signal);
  RunSurroundings surroundings{log, hub, stop_signal, &save_signal, [] { training = true; },
                               {},  {},  {},          SFT_VERSION,  {}};
  if (options.dry_run) {
    return say_plan(options, surroundings, terminal);
  }
  handle_signals();
  surroundings.argv.assign(args.begin(), args.end());
  surroundings.print = [&](std::string_view line) { terminal.print(line); };
  surroundings.on_step = [&](int64_t done, int64_t total, std::string_view tail) {
    if (bar && !steps) {
      steps = std::make_unique<Progress>(terminal, "steps", total, done - 1);
    }
    if (steps) {
      steps->update(done, tail);
    }
  };
  surroundings.on_eval_batch = [&](int64_t done, int64_t total) {
    if (bar && (!batches || done == 1)) {
      batches = std::make_unique<Progress>(terminal, "evaluation batches", total);
    }
    if (batches) {
      batches->update(done);
    }
    if (done == total) {
      batches.reset();
    }
  };
  TrainOutcome outcome;
  try {
    outcome = run_training(options, surroundings);
  } catch (const Error& e) {
    if (e.code() != "X011" || stop_signal == 0) {
      throw;
    }
    outcome.stopped_by = stop_signal;  // while something was fetched or sent
  }
  if (steps) {
    steps->finish();
  }
  return exit_code(outcome, log);
}

}  // namespace sft
