#include "core/json.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/file.h"

namespace sft {

Json parse_json(std::string_view text, const std::string& name) {
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& e) {
    const size_t byte = std::min<size_t>(e.byte == 0 ? 0 : e.byte - 1, text.size());
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<long>(byte), '\n');
    throw Error("M010", fmt::format("{} is not valid JSON", name))
        .at(fmt::format("{}:{}", name, line))
        .hint("the file is cut short or was edited by hand; fetch or write it again");
  }
}

Json read_json(const std::filesystem::path& path) { return parse_json(read_text(path), path); }

}  // namespace sft
