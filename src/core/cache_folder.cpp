#include "core/cache_folder.h"

namespace sft {

std::filesystem::path cache_folder(const char* part, const Environment& environment) {
  const auto value = [&](const char* name) {
    return std::filesystem::path(environment.value(name));
  };
  if (const auto own = value("SFT_CACHE"); !own.empty()) {
    return own / part;
  }
  if (const auto xdg = value("XDG_CACHE_HOME"); !xdg.empty()) {
    return xdg / "sft" / part;
  }
  const auto home = value("HOME");
  return home.empty() ? home : home / ".cache" / "sft" / part;
}

}  // namespace sft
