// Names of files that a file of somebody else gives: a data set's card, a state file, a listing.
// Such a name may lead to what lies in its own folder, and nowhere else. Used by whoever follows
// one.
#pragma once

#include <string>
#include <string_view>

#include "core/file.h"

namespace sft {

// Why `name`, a path below `folder`, may not be followed, in words; "" where it stays inside. It
// may be no absolute path, have no "..", and no link on the way may lead out. A snapshot in the
// hub's cache reaches to the repository's folder, whose files its own links name.
std::string why_outside(const fs::path& folder, const std::string& name);

// Whether it is the name of a file beside the one that gives it: no path, and nothing that cannot
// be shown.
bool is_file_name(std::string_view name);

// Whether a text names a place on this machine wherever it is read: an absolute path, one that
// begins in a home folder, or one with "..".
bool names_a_place(const std::string& text);

// Why the file `name` of a folder may not be taken for what its name says, in words: a link that
// leads out, to a file of another name. Folders of links to the files of a model elsewhere are
// fine, a chat_template.jinja that is a link to somebody's key is not.
std::string why_another_file(const fs::path& folder, const std::string& name);

// Whether it lies in a snapshot of a hub's cache, so that its contents are somebody else's.
bool is_in_hub_cache(const fs::path& path);

// Why what lies at `path` is no file of data, in words: a pipe, a device, or what /proc and /sys
// show of the system; "" for anything else, also where there is nothing.
std::string why_no_data(const fs::path& path);
// D081 for such a path: opening it may wait for ever, and what it gives is nobody's data.
void check_is_data(const fs::path& path);

}  // namespace sft
