#include "core/hub_cache.h"

#include <algorithm>
#include <cctype>
#include <system_error>

#include "core/error.h"
#include "core/file.h"
#include "core/strings.h"

namespace sft {

namespace {

std::string value_of(const std::function<const char*(const char*)>& getenv, const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "" : value;
}

fs::path expand_home(const std::string& path, const std::string& home) {
  if (!home.empty() && (path == "~" || path.starts_with("~/"))) {
    return fs::path(home + path.substr(1));
  }
  return path;
}

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

HubEnvironment HubEnvironment::read(const std::function<const char*(const char*)>& getenv) {
  HubEnvironment e;
  e.hf_hub_cache = value_of(getenv, "HF_HUB_CACHE");
  if (e.hf_hub_cache.empty()) {
    e.hf_hub_cache = value_of(getenv, "HUGGINGFACE_HUB_CACHE");
  }
  e.hf_home = value_of(getenv, "HF_HOME");
  e.xdg_cache = value_of(getenv, "XDG_CACHE_HOME");
  e.home = value_of(getenv, "HOME");
  return e;
}

fs::path HubEnvironment::hub_folder() const {
  if (!hf_hub_cache.empty()) {
    return expand_home(hf_hub_cache, home);
  }
  if (!hf_home.empty()) {
    return expand_home(hf_home, home) / "hub";
  }
  if (!xdg_cache.empty()) {
    return expand_home(xdg_cache, home) / "huggingface" / "hub";
  }
  return home.empty() ? fs::path() : fs::path(home) / ".cache" / "huggingface" / "hub";
}

bool is_hub_id(const std::string& id) {
  const auto parts = split(id, '/');
  if (parts.empty() || parts.size() > 2) {
    return false;
  }
  return std::all_of(parts.begin(), parts.end(), [](const std::string& part) {
    return !part.empty() && part.size() <= 96 && part.front() != '.' && part.front() != '-' &&
           part.find("--") == std::string::npos && part.find("..") == std::string::npos &&
           std::all_of(part.begin(), part.end(), [](unsigned char c) {
             return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
           });
  });
}

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
