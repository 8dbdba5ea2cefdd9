// What this program is: its version, the commit it was built from, and the libraries in it. Used by
// `sft --version` and `sft env`.
#pragma once

#include <string>
#include <vector>

namespace sft {

struct LibraryVersion {
  std::string name, version;
};

std::string program_version();  // "0.1.0"
std::string program_commit();   // "4d7a21461e0a", with "-dirty" for changes; "" when not known
std::vector<LibraryVersion> library_versions();
// The three in a few lines, the first of them "sft 0.1.0 (4d7a21461e0a)".
std::string version_page();

}  // namespace sft
