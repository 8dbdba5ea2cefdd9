// Names that are not there, and whether they can be the hub's at all: one that ends like a file or
// is a path by its shape is a file that is missing, and the hub is not asked. Used for models, data
// sets and templates.
#pragma once

#include <string>

#include "hub/environment.h"

namespace sft {

// Why `name` is a path and no name of the hub, in words ("it ends in .jsonl"); "" when it may be
// one.
std::string why_a_path(const std::string& name);

// Of a name that hub_knows says no to.
inline constexpr const char* kHubHasNone = "the hub has none of this name, or cannot be asked";
// " (it ends in .jsonl, so the hub is not asked)": such a reason for an error's sentence, "" for
// "".
std::string because(const std::string& why);

// Whether `name` could as well lie below a folder that is here ("mydata" of "mydata/bakery").
bool parent_is_here(const std::string& name);

// For such a name: asks the hub, once. False where it has no such repository or cannot be asked, so
// that a path was meant; where it is not to be asked at all, the cache decides.
bool hub_knows(HubKind kind, const std::string& name, const std::string& revision,
               const HubEnvironment& environment);

// "did you mean  mydata/bakery.jsonl?", of what lies beside the missing file; else `otherwise`.
std::string nearest_path_or(const std::string& name, const std::string& otherwise);

}  // namespace sft
