// Python's re.findall and re.sub with nothing, for the regular expressions of evaluation tasks.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sft {

// Each match of the expression from left to right: the whole of it, or its one group, or of several
// groups the first that is not empty; nothing where all of those are. C190 when the expression does
// not compile or takes too many steps.
std::vector<std::optional<std::string>> find_all(std::string_view text,
                                                 std::string_view expression);
// The text without the matches.
std::string without_matches(std::string_view text, std::string_view expression);

}  // namespace sft
