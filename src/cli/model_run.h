// What the commands that open a model to answer with it share: generate, chat and eval.
#pragma once

#include "cli/terminal.h"
#include "core/log.h"
#include "core/numbers.h"
#include "hub/environment.h"
#include "run/surroundings.h"
#include "settings/train_options.h"

namespace sft {

// The options of how they run. `json` and `verbose`: what these two show.
template <class V>
void visit_running(V& v, TrainOptions& run, const char* json, const char* verbose) {
  v("use_cpu", &run.use_cpu, "Use the CPU even where there is a GPU.");
  v("threads", &run.threads, "Threads to compute with; 0: the cores this process may use.")
      .at_most(kMostThreads);
  v("json", &run.json, json);
  v("color", &run.color, "auto, always or never.").one_of({"auto", "always", "never"});
  v("quiet", &run.quiet, "Only warnings (-qq: only errors).").short_name('q');
  v("verbose", &run.verbose, verbose).short_name('v');
}

// The surroundings of their runs, of which only warnings are said unless --verbose is there.
class ModelRun {
 public:
  ModelRun(const TrainOptions& options, Terminal& terminal, const Logger& log);
  ModelRun(const ModelRun&) = delete;
  ModelRun& operator=(const ModelRun&) = delete;

  const RunSurroundings& surroundings() const { return surroundings_; }

 private:
  HubEnvironment hub_;
  Logger log_;
  RunSurroundings surroundings_;
};

}  // namespace sft
