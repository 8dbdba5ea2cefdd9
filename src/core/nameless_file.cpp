#include "core/nameless_file.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cstdlib>
#include <string>

namespace sft {

Fd open_nameless_file() {
  const char* chosen = std::getenv("TMPDIR");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  Fd file;
  for (const std::string folder : {chosen == nullptr ? "" : chosen, "/var/tmp", "/tmp"}) {
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
