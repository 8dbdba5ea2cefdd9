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
std::atomic<int> stop_signal{0};  // NOLINT

void on_signal(int signal) {
  stop_signal = signal;
  std::signal(signal, SIG_DFL);  // the second one ends the program at once
  constexpr std::string_view kText =
      "\nstopping after this step and saving; the same signal again ends at once\n";
  const auto ignored = ::write(STDERR_FILENO, kText.data(), kText.size());
  (void)ignored;
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
  RunSurroundings surroundings{log, hub, stop_signal, {}, {}, {}, SFT_VERSION, {}};
  if (options.dry_run) {
    return say_plan(options, surroundings, terminal);
  }
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
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
