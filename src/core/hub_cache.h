// Finds models and data sets in the local cache of the Hugging Face hub; nothing is downloaded.
// Used by io (models) and data (data sets).
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace sft {

// The variables that decide where the cache lies, read once by `main` and passed down.
struct HubEnvironment {
  std::string hf_hub_cache;  // HF_HUB_CACHE, else HUGGINGFACE_HUB_CACHE
  std::string hf_home;       // HF_HOME
  std::string xdg_cache;     // XDG_CACHE_HOME
  std::string home;          // HOME

  // `getenv` returns nullptr for a variable that is not set, as std::getenv does.
  static HubEnvironment read(const std::function<const char*(const char*)>& getenv);
  // $HF_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub: the
  // first that is set. Empty when none is.
  std::filesystem::path hub_folder() const;
};

enum class HubKind { model, dataset };

struct HubLookup {
  std::optional<std::filesystem::path> folder;  // the snapshot, when it is there
  std::string commit;                           // its commit
  std::vector<std::string> looked_at;           // every place looked at, for the error
};

// Whether `id` can be a hub id: "name" or "organisation/name" of letters, digits, '-', '_', '.'.
bool is_hub_id(const std::string& id);

// The snapshot of `id` at `revision` (a branch, tag, or commit; "" means "main"). Never throws for
// what is not there.
HubLookup find_in_hub_cache(HubKind kind, const std::string& id, const std::string& revision,
                            const HubEnvironment& environment);

}  // namespace sft
