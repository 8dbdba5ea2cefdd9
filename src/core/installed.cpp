#include "core/installed.h"

#include <dlfcn.h>

#include <algorithm>
#include <string>
#include <system_error>

namespace sft {

namespace {

namespace fs = std::filesystem;

// Through links: pipx and uv put one to the program on PATH.
fs::path program_folder() {
  std::error_code failed;
  return fs::read_symlink("/proc/self/exe", failed).parent_path();
}

std::vector<fs::path> folders_in(const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code failed;
  for (fs::directory_iterator entry(folder, failed), end; !failed && entry != end;
       entry.increment(failed)) {
    out.push_back(entry->path());
  }
  std::ranges::sort(out);
  return out;
}

}  // namespace

std::vector<fs::path> places_of(std::string_view library) {
  const fs::path folder = program_folder();
  const fs::path above = folder.parent_path();
  return {folder / library, above / "lib" / "sft" / library, above / "lib" / library,
          above.parent_path() / library, fs::path(library)};
}

fs::path place_of(std::string_view library) {
  std::error_code failed;
  for (const fs::path& place : places_of(library)) {
    if (place.is_absolute() && fs::exists(place, failed)) {
      return place;
    }
  }
  return {};
}

LoadedFunction load_function(std::string_view library, const char* name) {
  LoadedFunction found;
  for (const fs::path& place : places_of(library)) {
    if (void* const handle = ::dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL)) {
      found.function = ::dlsym(handle, name);
      if (found.function != nullptr) {
        return found;
      }
    }
    const char* const error = ::dlerror();
    std::error_code failed;
    if (error != nullptr && fs::exists(place, failed)) {
      found.there = place.string();
      found.reason = error;
    }
  }
  return found;
}

fs::path nvidia_library(std::string_view library) {
  std::error_code failed;
  for (const fs::path& python : folders_in(program_folder().parent_path() / "lib")) {
    if (!python.filename().string().starts_with("python3")) {
      continue;
    }
    for (const char* packages : {"site-packages", "dist-packages"}) {
      for (const fs::path& wheel : folders_in(python / packages / "nvidia")) {
        const fs::path file = wheel / "lib" / library;
        if (fs::exists(file, failed)) {
          return file;
        }
      }
    }
  }
  return library;
}

}  // namespace sft
