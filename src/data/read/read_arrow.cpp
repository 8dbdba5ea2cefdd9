// Parquet and arrow files, through libsft_arrow.so (core/installed says where it is looked for).
#include <fmt/format.h>

#include <filesystem>
#include <string>

#include "core/error.h"
#include "core/installed.h"
#include "data/read/row_file.h"

namespace sft {

namespace {

namespace fs = std::filesystem;
constexpr std::string_view kLibrary = "libsft_arrow.so";
#ifdef SFT_ARROW_BUILT
constexpr bool kBuilt = true;
#else
constexpr bool kBuilt = false;
#endif

using OpenArrow = RowReader* (*)(const char*);
using OpenArrowRows = RowFile* (*)(const char*);

// What helps depends on what is missing. `there`: where the library lies, "" when nowhere.
Error cannot_load(const fs::path& path, const std::string& there, const std::string& reason) {
  const std::string file = path.filename().string();
  constexpr const char* again =
      "in the source folder:  tools/python_env.sh pyarrow && rm -rf build && make build";
  if (!kBuilt) {
    return Error("D020",
                 fmt::format("{} cannot be read: this sft was built without Apache Arrow", file))
        .hint(fmt::format("{}  ; or convert the data to .jsonl", again));
  }
  if (there.empty()) {
    return Error("D020", fmt::format("{} cannot be read: {} is not beside the program, where it "
                                     "was built",
                                     file, kLibrary))
        .hint(fmt::format("copy {} from the build folder to {}", kLibrary,
                          places_of(kLibrary).front().parent_path().string()));
  }
  return Error("D020",
               fmt::format("{} cannot be read: {} cannot be loaded: {}", file, there, reason))
      .hint(fmt::format("the Arrow libraries that it was built with are gone; {}", again));
}

void* load_arrow(const fs::path& path, const char* name) {
  const LoadedFunction found = load_function(kLibrary, name);
  if (found.function == nullptr) {
    throw cannot_load(path, found.there, found.reason).at(path.string());
  }
  return found.function;
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
