#include "hub/cache.h"

#include <algorithm>
#include <system_error>

#include "core/error.h"
#include "core/file.h"
#include "core/strings.h"

namespace sft {

namespace {

// A revision becomes part of a path, so it may not climb out of the cache.
bool is_safe_revision(const std::string& revision) {
  const auto parts = split(revision, '/');
  return std::none_of(parts.begin(), parts.end(), [](const std::string& part) {
    return part.empty() || part == "." || part == "..";
  });
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

// The commit a ref names, or "" when the ref is not in the cache.
std::string read_ref(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) {
    return "";
  }
  try {
    const std::string commit(trim(read_text(path)));
    return is_safe_revision(commit) && commit.find('/') == std::string::npos ? commit : "";
  } catch (const Error&) {
    return "";  // unreadable counts as not there; the place is in `looked_at`
  }
}

}  // namespace

HubLookup find_in_hub_cache(HubKind kind, const std::string& id, const std::string& revision,
                            const HubEnvironment& environment) {
  HubLookup result;
  const fs::path hub = environment.hub_folder();
  const std::string wanted = revision.empty() ? "main" : revision;
  if (hub.empty() || !is_hub_id(id) || !is_safe_revision(wanted)) {
    return result;
  }
  std::string folder = kind == HubKind::model ? "models" : "datasets";
  for (const std::string& part : split(id, '/')) {
    folder += "--" + part;
  }
  const fs::path repository = hub / folder;
  const fs::path ref = repository / "refs" / wanted;
  result.looked_at.push_back(ref.string());
  result.commit = read_ref(ref);
  if (result.commit.empty() && wanted.find('/') == std::string::npos) {
    result.commit = wanted;  // perhaps the revision is a commit itself
  }
  if (!result.commit.empty()) {
    const fs::path snapshot = repository / "snapshots" / result.commit;
    result.looked_at.push_back(snapshot.string());
    if (is_folder(snapshot)) {
      result.folder = snapshot;
    } else {
      result.commit.clear();
    }
  }
  return result;
}

}  // namespace sft
