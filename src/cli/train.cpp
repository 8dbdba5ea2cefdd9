// `sft --config …`: trains. The work is in train/run.cpp; here are the terminal and the signals.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <memory>

#include "cli/commands.h"
#include "cli/hub.h"
#include "cli/launch.h"
#include "cli/launch_options.h"
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

// All that must be the same on every rank, key by key, so that a difference can be named.
void agree_on(RankControl& control, const TrainOptions& options) {
  Facts facts = {{"version", SFT_VERSION}};
  const Json values = option_values(options);
  for (const auto& [key, value] : values.items()) {
    facts.emplace_back(key, value.dump());
  }
  control.agree("configuration", facts);
}

// A scheduler that starts one process for each machine means it to start the ranks there.
bool starts_ranks(const LaunchEnvironment& launch) {
  if (launch.role != LaunchEnvironment::Role::launcher) {
    return false;
  }
  return launch.nodes > 1 || launch.local_world > 1 || launch.max_restarts > 0 ||
         (launch.local_world == 0 && count_gpus() > 1);
}

TrainOutcome run_rank(const TrainOptions& options, RunSurroundings& surroundings) {
  RankControl& control = *surroundings.control;
  try {
    agree_on(control, options);
    TrainOutcome outcome = run_training(options, surroundings);
    control.finish();
    return outcome;
  } catch (const Error& e) {
    control.fail(e);
    throw;
  } catch (const std::exception& e) {
    control.fail(Error("X002", e.what()));
    throw;
  }
}

}  // namespace

int run_train(Args args, Terminal& terminal) {
  std::vector<std::pair<std::string, std::string>> environment;
  const LaunchEnvironment launch = surrounding_launch();
  const bool launches = launch.role == LaunchEnvironment::Role::launcher;
  const int local = std::max(launch.local_world, 1);
  const TrainOptions options = read_train_options(
      args, &environment, {launches ? launch.nodes * local : launch.world, local});
  apply_environment(environment);
  if (starts_ranks(launch) && !options.dry_run) {
    return launch_ranks(args, launch, terminal);
  }
  const bool first = launch.rank == 0;
  const Logger log = first ? terminal.logger(options.quiet, options.verbose) : Logger();
  for (const std::string& note : options.notes) {
    log.note(note);
  }
  for (const std::string& detail : options.details) {
    log.detail(detail);
  }
  std::unique_ptr<Progress> steps, batches;
  const bool bar = first && !options.disable_tqdm.value_or(false);
  const HubEnvironment hub = hub_environment(terminal, log, bar, &stop_signal);
  RunSurroundings surroundings{log, hub, stop_signal, {}, {}, {}, SFT_VERSION, {}};
  if (options.dry_run) {
    return say_plan(options, surroundings, terminal);
  }
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
  surroundings.argv.assign(args.begin(), args.end());
  if (first) {
    surroundings.print = [&](std::string_view line) { terminal.print(line); };
  }
  if (launch.source != LaunchEnvironment::Source::alone) {
    log.note(launch.found);
  }
  const auto control = join_ranks(launch, static_cast<double>(options.distributed.ddp_timeout));
  surroundings.launch = launch;
  surroundings.control = control.get();
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
    outcome = run_rank(options, surroundings);
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
