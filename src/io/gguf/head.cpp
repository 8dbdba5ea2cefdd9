#include "io/gguf/head.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <system_error>
#include <vector>

#include "core/error.h"
#include "hub/remote_file.h"

namespace sft {

namespace {

constexpr int64_t kFirst = 8 << 10;  // bytes asked for at first; four times as many each time
constexpr int64_t kMost = 256 << 20;

// A file without a name once this has gone, of a length that takes no room on the disk.
class SparseFile {
 public:
  explicit SparseFile(int64_t size) {
    std::string name = (fs::temp_directory_path() / "sft-head-XXXXXX").string();
    fd_ = ::mkostemp(name.data(), O_CLOEXEC);
    if (fd_ >= 0) {
      path_ = name;
    }
    good_ = fd_ >= 0 && ::ftruncate(fd_, size) == 0;
  }
  ~SparseFile() {
    if (fd_ >= 0) {
      ::close(fd_);
      std::error_code ignored;
      fs::remove(path_, ignored);
    }
  }
  SparseFile(const SparseFile&) = delete;
  SparseFile& operator=(const SparseFile&) = delete;

  bool good() const { return good_; }
  const fs::path& path() const { return path_; }
  bool write(const std::vector<char>& bytes, int64_t at) const {
    return ::pwrite(fd_, bytes.data(), bytes.size(), at) == static_cast<ssize_t>(bytes.size());
  }

 private:
  fs::path path_;
  int fd_ = -1;
  bool good_ = false;
};

// Whether more of the file would not change it: no GGUF file, or one that is not supported. What is
// cut off reads as a damaged one.
bool is_about_all(const Error& e) {
  constexpr std::array<std::string_view, 7> kCodes = {"M213", "M220", "M221", "M227",
                                                      "M229", "M230", "M231"};
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
  const SparseFile head(size);
  if (!head.good()) {
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
      if (e.code() != "M313") {
        throw;
      }
      return nullptr;
    }
    if (bytes.empty() || !head.write(bytes, have)) {
      return nullptr;
    }
    have += static_cast<int64_t>(bytes.size());
    try {
      return std::make_unique<GgufSource>(name, repository->folder() / file, head.path(), fetch);
    } catch (const Error& e) {
      if (is_about_all(e)) {
        throw Error(e.code(), naming(e.message(), head.path().string(), name)).hint(e.hint());
      }
    }
  }
  return nullptr;
}

}  // namespace sft
