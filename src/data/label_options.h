// Which of the data's options decide what tokens a row has and which of them train. For commands
// that read rows and train nothing.
#pragma once

#include "data/options.h"

namespace sft {

void visit_labels(DataOptions& options, OptionTable& table);

}  // namespace sft
