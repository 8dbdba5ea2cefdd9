// The parts of the page that are no charts, as HTML; "" where there is nothing to show.
#pragma once

#include <span>
#include <string>

#include "report/page/page.h"

namespace sft {

std::string status_section(std::span<const ShownRun> runs, const PageView& view);
// Where a step's time goes: all of the run, and what was logged last.
std::string time_section(std::span<const ShownRun> runs);
std::string device_section(std::span<const ShownRun> runs);
std::string event_section(std::span<const ShownRun> runs);
std::string sample_section(std::span<const ShownRun> runs);
// Of one run: what differs from the defaults first; of several: what differs between them.
std::string settings_section(std::span<const ShownRun> runs);
// Model, data, machine, what was written and how to go on.
std::string about_section(std::span<const ShownRun> runs, bool live);

}  // namespace sft
