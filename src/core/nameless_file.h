// Room on the disk that has no name and is given back when its owner goes.
#pragma once

#include <filesystem>

#include "core/fd.h"

namespace sft {

// In $TMPDIR, /var/tmp or /tmp, whichever takes it first; none, and errno, where none does.
Fd open_nameless_file();

// A path under which an open file can be opened again while it is open.
std::filesystem::path path_of(const Fd& file);

}  // namespace sft
