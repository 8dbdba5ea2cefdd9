// Parquet and arrow files, through libsft_arrow.so, which is looked for beside the program, in the
// lib folder next to it, and where the system's loader looks.
#include <dlfcn.h>
#include <fmt/format.h>

#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "core/error.h"
#include "data/row_file.h"

namespace sft {

namespace {

namespace fs = std::filesystem;
constexpr std::string_view kLibrary = "libsft_arrow.so";

using OpenArrow = RowReader* (*)(const char*);
using OpenArrowRows = RowFile* (*)(const char*);

std::vector<std::string> places() {
  std::error_code failed;
  const fs::path folder = fs::read_symlink("/proc/self/exe", failed).parent_path();
  std::vector<std::string> out;
  for (const fs::path& place :
       {folder, folder.parent_path() / "lib", folder.parent_path().parent_path()}) {
    out.push_back((place / kLibrary).string());
  }
  out.emplace_back(kLibrary);
  return out;
}

// The library stays loaded: rows made by it may outlive their reader.
void* load_arrow(const fs::path& path, const char* function) {
  std::string reason = "it was not built";
  for (const std::string& place : places()) {
    if (void* library = ::dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL)) {
      if (void* symbol = ::dlsym(library, function)) {
        return symbol;
      }
    }
    const char* error = ::dlerror();
    std::error_code failed;
    if (error != nullptr && fs::exists(place, failed)) {
      reason = error;
    }
  }
  throw Error("D020", fmt::format("reading {} needs {}, which cannot be loaded: {}",
                                  path.filename().string(), kLibrary, reason))
      .at(path.string())
      .hint(
          "install Apache Arrow (pip install pyarrow) and build again, or convert the data to "
          ".jsonl");
}

}  // namespace

std::unique_ptr<RowReader> open_arrow(const std::filesystem::path& path) {
  const auto open = reinterpret_cast<OpenArrow>(load_arrow(path, "sft_open_arrow"));
  return std::unique_ptr<RowReader>(open(path.c_str()));
}

std::unique_ptr<RowFile> open_arrow_rows(const std::filesystem::path& path) {
  const auto open = reinterpret_cast<OpenArrowRows>(load_arrow(path, "sft_open_arrow_rows"));
  return std::unique_ptr<RowFile>(open(path.c_str()));
}

}  // namespace sft
