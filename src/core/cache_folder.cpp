#include "core/cache_folder.h"

namespace sft {

std::filesystem::path cache_folder(const char* part,
                                   const std::function<const char*(const char*)>& getenv) {
  const auto value = [&](const char* name) {
    const char* text = getenv(name);
    return std::filesystem::path(text == nullptr ? "" : text);
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
