// What commands that take a run's options do before they open it.
#include <fmt/format.h>

#include "cli/commands.h"
#include "core/log.h"
#include "settings/train_options.h"

namespace sft {

void say_options(const TrainOptions& options, const Logger& log) {
  for (const std::string& note : options.notes) {
    log.note(note);
  }
  for (const std::string& detail : options.details) {
    log.detail(detail);
  }
  if (!options.details.empty() && options.verbose == 0) {
    log.note(fmt::format("{} of the settings given {} no effect here; -v says which, and why",
                         options.details.size(), options.details.size() == 1 ? "has" : "have"));
  }
}

}  // namespace sft
