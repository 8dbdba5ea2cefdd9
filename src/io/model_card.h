// The README.md of a saved model: the front matter that the hub shows, and how to use it. Used by
// the model saver.
#pragma once

#include <string>

#include "io/model_saver.h"

namespace sft {

std::string model_card(const fs::path& folder, const ModelSource& source, bool chat,
                       const SaveOptions& options);

}  // namespace sft
