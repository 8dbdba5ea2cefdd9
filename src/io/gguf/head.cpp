#include "io/gguf/head.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <system_error>
#include <vector>

#include "core/error.h"
#include "core/lfs_pointer.h"
#include "core/nameless_file.h"
#include "hub/errors.h"
#include "hub/remote_file.h"
#include "io/gguf/errors.h"

namespace sft {

namespace {

constexpr int64_t kFirst = 8 << 10;  // bytes asked for at first; four times as many each time
constexpr int64_t kMost = 256 << 20;

// Whether more of the file would not change it: no GGUF file, or one that is not supported. What is
// cut off reads as a damaged one.
bool is_about_all(const Error& e) {
  constexpr std::array kCodes{kPointerForModel, kNotGguf,     kGgufVersion, kGgufType,
                              kGgufFamily,      kGgufSetting, kGgufStranger};
  return std::ranges::find(kCodes, e.code()) != kCodes.end();
}

std::string naming(std::string text, const std::string& path, const std::string& name) {
  if (const size_t at = text.find(path); at != std::string::npos) {
    text.replace(at, path.size(), name);
  }
  return text;
}

}  // namespace

std::unique_ptr<GgufSource> open_gguf_head(const std::string& name,
                                           const std::shared_ptr<HubRepository>& repository,
                                           const std::string& file) {
  const std::vector<HubFile> missing = repository->missing({file});
  if (missing.empty()) {
    return nullptr;
  }
  const int64_t size = missing[0].size;
  const Fd head = open_nameless_file();  // of the whole length, which takes no room on the disk
  if (!head || ::ftruncate(head.get(), size) != 0) {
    return nullptr;
  }
  const RemoteFile remote = repository->remote(missing[0]);
  const auto fetch = [repository, file] { repository->fetch({file}); };
  int64_t have = 0;
  for (int64_t want = kFirst; have < std::min(size, kMost); want *= 4) {
    std::vector<char> bytes(static_cast<size_t>(std::min(want, size) - have));
    try {
      bytes.resize(remote.read(have, bytes));
    } catch (const Error& e) {
      if (e.code() != kNoParts) {
        throw;
      }
      return nullptr;
    }
    if (bytes.empty() ||
        write_all_at(head.get(), {bytes.data(), bytes.size()}, have) < bytes.size()) {
      return nullptr;
    }
    have += static_cast<int64_t>(bytes.size());
    try {
      return std::make_unique<GgufSource>(name, repository->folder() / file, path_of(head), fetch);
    } catch (const Error& e) {
      if (is_about_all(e)) {
        throw Error(e.code(), naming(e.message(), path_of(head).string(), name)).hint(e.hint());
      }
    }
  }
  return nullptr;
}

}  // namespace sft
