// Listing the files of a folder and matching them as `datasets` does. Used by resolve and the
// readers.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace sft {

// Paths of all files below `folder`, relative to it, with '/' between parts, sorted. Symlinks are
// followed (the hub cache is made of them), but not in circles, nor into /proc and its like. M001
// for a folder that cannot be read, D025 for one with more entries or deeper than a data set has.
std::vector<std::string> list_files(const std::filesystem::path& folder);

// Whole-path match: `*`, `?` and `[...]` stay within one part, `**` crosses parts, and a leading or
// inner `**/` also stands for no part at all.
bool glob_matches(std::string_view pattern, std::string_view path);

// Whether a file that matched may be used: hidden parts (".x") and special folders ("__x") count
// only where the pattern names them.
bool is_requested(std::string_view pattern, std::string_view path);

}  // namespace sft
