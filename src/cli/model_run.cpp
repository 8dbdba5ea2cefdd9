#include "cli/model_run.h"

#include <algorithm>

#include "cli/environment.h"
#include "cli/hub.h"

namespace sft {

ModelRun::ModelRun(const TrainOptions& options, Terminal& terminal, const Logger& log)
    : hub_(hub_environment(terminal, log)),
      log_(terminal.logger(options.verbose > 0 ? 0 : std::max<int64_t>(options.quiet, 1),
                           options.verbose)),
      surroundings_{log_, hub_} {
  surroundings_.environment = read_environment();
  load_cudnn(surroundings_.environment, log_);
}

}  // namespace sft
