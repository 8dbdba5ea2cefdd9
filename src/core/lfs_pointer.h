// What a clone has in place of a large file that git-lfs has not fetched: three lines that name it.
// Used wherever models and data are opened.
#pragma once

#include <string_view>

#include "core/error_code.h"
#include "core/file.h"

namespace sft {

inline constexpr Code kPointerForModel = "M213";  // in place of a model's file
inline constexpr Code kPointerForData = "D024";

// Whether a file that begins with `text` is such a pointer.
bool is_lfs_pointer(std::string_view text);

// Throws `code`, with the way to the file itself, when `file`, which begins with `text`, is one.
void refuse_lfs_pointer(Code code, const fs::path& file, std::string_view text);

// The same of a file that has not been opened; only small ones are looked into.
void refuse_lfs_pointer(Code code, const fs::path& file);

// read_text of a file of a model, where a pointer is M213.
std::string read_fetched_text(const fs::path& file);

}  // namespace sft
