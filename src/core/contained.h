// Names of files that a file of somebody else gives: a data set's card, a state file, a listing.
// Such a name may lead to what lies in its own folder, and nowhere else. Used by whoever follows
// one.
#pragma once

#include <string>

#include "core/file.h"

namespace sft {

// Why `name`, a path below `folder`, may not be followed, in words; "" where it stays inside. It
// may be no absolute path, have no "..", and no link on the way may lead out. A snapshot in the
// hub's cache reaches to the repository's folder, whose files its own links name.
std::string why_outside(const fs::path& folder, const std::string& name);

// Why what lies at `path` is no file of data, in words: a pipe, a device, or what /proc and /sys
// show of the system; "" for anything else, also where there is nothing.
std::string why_no_data(const fs::path& path);
// D081 for such a path: opening it may wait for ever, and what it gives is nobody's data.
void check_is_data(const fs::path& path);

}  // namespace sft
