// Checksums as git and git-lfs name contents by. Used to check downloads and to name uploads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace sft {

// Both return lower-case hexadecimal digits; M001 when the file cannot be read.
std::string sha256_of_file(const std::filesystem::path& path);
// SHA-1 of "blob <size>\0" and the contents: git's name of a file.
std::string git_blob_of_file(const std::filesystem::path& path);
std::string git_blob_of_text(std::string_view text);

}  // namespace sft
