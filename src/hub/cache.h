// The local cache of the hub, laid out as the Python tools do it: finding what is there. Nothing is
// downloaded here; that is repository.h.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "hub/environment.h"

namespace sft {

struct HubLookup {
  std::optional<std::filesystem::path> folder;  // the snapshot, when it is there
  std::string commit;                           // its commit
  std::vector<std::string> looked_at;           // every place looked at, for the error
};

// The snapshot of `id` at `revision` (a branch, tag, or commit; "" means "main"). Never throws for
// what is not there.
HubLookup find_in_hub_cache(HubKind kind, const std::string& id, const std::string& revision,
                            const HubEnvironment& environment);

}  // namespace sft
