// What a model's card says of the run that made it: base model, data, method, settings and figures.
#pragma once

#include <string>

#include "report/history/run_history.h"

namespace sft {

// Markdown, with the picture of the loss that lies beside the card; no path of this machine, and no
// time: the same run leaves the same card.
std::string card_section(const RunHistory& run);

}  // namespace sft
