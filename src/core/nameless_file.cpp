#include "core/nameless_file.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

namespace sft {

Fd open_nameless_file() {
  std::error_code ignored;  // a $TMPDIR that is not there
  const std::filesystem::path chosen = std::filesystem::temp_directory_path(ignored);
  const bool given = !chosen.empty() && chosen != "/tmp";  // which may be memory
  Fd file;
  for (const std::string& folder :
       {given ? chosen.string() : std::string(), std::string("/var/tmp"), std::string("/tmp")}) {
    if (file || folder.empty()) {
      continue;
    }
    file = open_file(folder, O_TMPFILE | O_RDWR, 0600);
    if (!file) {
      std::string name = folder + "/sft_XXXXXX";
      file = Fd(::mkostemp(name.data(), O_CLOEXEC));
      if (file) {
        ::unlink(name.c_str());
      }
    }
  }
  return file;
}

std::filesystem::path path_of(const Fd& file) {
  return fmt::format("/proc/self/fd/{}", file.get());
}

}  // namespace sft
