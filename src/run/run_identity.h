// What a run that goes on must have in common with the one that was saved. Used by run/open_run.h.
#pragma once

#include "core/json.h"
#include "run/open_run.h"

namespace sft {

// The part of it that is known before the data are read: what the options and config.json say.
Json settings_of(OpenRun& run);

// See TrainerHooks::identity.
Json identity_of(OpenRun& run);

// What differs from it in `saved`, the same of the run that goes on, by name; "" where nothing
// does.
std::string difference(const Json& saved, const Json& identity);

}  // namespace sft
