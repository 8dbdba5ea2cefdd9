#include "cli/hub.h"

#include <memory>

#include "cli/environment.h"

namespace sft {

HubEnvironment hub_environment(Terminal& terminal, const Logger& log, bool bar,
                               const std::atomic<int>* stop_signal) {
  HubEnvironment hub = HubEnvironment::read(read_environment());
  hub.user_agent = "sft/" SFT_VERSION;
  hub.report.warn = [&log](std::string_view text) { log.warn(text); };
  hub.report.note = [&log](std::string_view text) { log.note(text); };
  if (stop_signal != nullptr) {
    hub.report.stopped = [stop_signal] { return *stop_signal != 0; };
  }
  if (bar && hub.progress_bars) {
    const auto line = std::make_shared<std::unique_ptr<Progress>>();
    hub.report.progress = [&terminal, line](int64_t done, int64_t total) {
      if (!*line) {
        *line = std::make_unique<Progress>(terminal, "MiB", total >> 20);
      }
      (*line)->update(done >> 20);
      if (done >= total) {
        line->reset();
      }
    };
  }
  return hub;
}

}  // namespace sft
