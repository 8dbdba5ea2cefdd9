#include "core/json.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "core/json_text.h"
#include "core/lfs_pointer.h"

namespace sft {

std::string to_text(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

Json parse_json(std::string_view text, const std::string& name) {
  refuse_lfs_pointer(kPointerForModel, name, text);
  if (too_deep(text)) {
    throw Error("M010", fmt::format("{} is nested more than {} deep", name, kMaxJsonDepth))
        .at(name)
        .hint("no file of these programs is: fetch or write it again");
  }
  try {
    return parse_linear(text);
  } catch (const Json::parse_error& e) {
    const std::string_view before = text.substr(0, e.byte == 0 ? 0 : e.byte - 1);
    const size_t line_start = before.rfind('\n') + 1;  // 0 when there is none
    throw Error("M010", fmt::format("{} is not valid JSON", name))
        .at(fmt::format("{}:{}:{}", name, 1 + std::ranges::count(before, '\n'),
                        before.size() - line_start + 1))
        .hint("the file is cut short or was edited by hand; fetch or write it again");
  } catch (const Json::out_of_range&) {
    throw Error("M010", fmt::format("{} has a number that is too large for a double", name))
        .at(name)
        .hint("write a number below 1.8e308");
  }
}

Json read_json(const std::filesystem::path& path) { return parse_json(read_text(path), path); }

}  // namespace sft
