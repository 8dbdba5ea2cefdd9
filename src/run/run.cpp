#include "run/run.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/strings.h"
#include "data/dataset.h"
#include "run/frozen_base.h"
#include "run/open_run.h"
#include "run/run_report.h"

namespace sft {

namespace {

// After all that can refuse the run: the weights of the hub are fetched now.
void load(OpenRun& run) {
  run.weights();
  run.surroundings().logger.note(
      fmt::format("model: {} ({}), {} parameters, {}, trained in {} on {}", run.source().name(),
                  run.shape().config.architecture, with_commas(run.shape().values()),
                  run.source().format(), name_of(run.compute()), run.device().name()));
  if (run.adapter()) {
    const int64_t trained = count_parameters(run.shape().trained);
    run.surroundings().logger.note(fmt::format(
        "{}: {} of {} parameters are trained ({:.2f} %)", run.adapter()->words(),
        with_commas(trained), with_commas(run.shape().values()),
        100.0 * static_cast<double>(trained) / static_cast<double>(run.shape().values())));
    if (const std::string base = base_words(run.shape(), run.compute()); !base.empty()) {
      run.surroundings().logger.note("the base is kept in " + base);
    }
  }
}

}  // namespace

TrainOutcome run_training(const TrainOptions& options, const RunSurroundings& surroundings) {
  const auto stage = [&](std::string_view what) {
    if (surroundings.on_stage) {
      surroundings.on_stage(what);
    }
  };
  stage("looking for the model and the data");
  OpenRun run(options, surroundings, Outputs::taken);
  run.check();
  stage("reading the data");
  run.rows(Part::train);
  stage("comparing with the checkpoint and planning memory");
  run.check_same_run();
  run.memory();
  run.agree();
  stage("loading the weights");
  load(run);
  stage("preparing the first step");
  RunReport report(run);
  const auto trainer = run.trainer(report.log(), report.hooks());
  report.begin(*trainer);
  try {
    const TrainOutcome outcome = trainer->run([&] { report.save(trainer->weights()); });
    say_notes(trainer->notes(), run.options().data, run.text().tokenizer, surroundings.logger);
    report.end(outcome);
    return outcome;
  } catch (const Error& e) {
    report.failed(e);
    throw;
  }
}

}  // namespace sft
