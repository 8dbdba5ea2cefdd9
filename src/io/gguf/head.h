// The beginning of a GGUF file of the hub, read in place: it says what the model is before the rest
// is fetched. Used by model_source.cpp.
#pragma once

#include <memory>
#include <string>

#include "hub/repository.h"
#include "io/gguf/source.h"

namespace sft {

// The model in `file` of the repository, whose values are fetched when they are first asked for.
// Null where the file is here already, where the server serves no parts, or where its beginning
// cannot be understood: then it has to be fetched to be opened.
std::unique_ptr<GgufSource> open_gguf_head(const std::string& name,
                                           const std::shared_ptr<HubRepository>& repository,
                                           const std::string& file);

}  // namespace sft
