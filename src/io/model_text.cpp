#include "io/model_text.h"

#include <fmt/format.h>

#include "core/contained.h"
#include "core/error.h"
#include "core/lfs_pointer.h"

namespace sft {

std::optional<std::string> model_text(const fs::path& folder, const std::string& file) {
  const fs::path path = folder / file;
  if (!is_there(path)) {
    return std::nullopt;
  }
  if (const std::string why = why_another_file(folder, file); !why.empty()) {
    throw Error("M259",
                fmt::format("{} is not read as part of the model: it {}", path.string(), why))
        .hint("put a copy of the file in its place, if it is one of the model's");
  }
  return read_fetched_text(path);
}

std::map<std::string, std::string> templates_beside(const fs::path& folder) {
  constexpr const char* kFolder = "additional_chat_templates";
  std::map<std::string, std::string> templates;
  for (const fs::path& file : paths_in(folder / kFolder)) {
    if (file.extension() == ".jinja") {
      const std::string name = fmt::format("{}/{}", kFolder, file.filename().string());
      templates.emplace(file.stem().string(), model_text(folder, name).value_or(""));
    }
  }
  return templates;
}

}  // namespace sft
