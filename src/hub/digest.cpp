#include "hub/digest.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "core/error.h"

namespace sft {

namespace {

class Digest {
 public:
  explicit Digest(const EVP_MD* kind) : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    SFT_ASSERT(context_ && EVP_DigestInit_ex(context_.get(), kind, nullptr) == 1);
  }
  void add(const void* data, size_t bytes) {
    SFT_ASSERT(EVP_DigestUpdate(context_.get(), data, bytes) == 1);
  }
  std::string hex() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> raw{};
    unsigned size = 0;
    SFT_ASSERT(EVP_DigestFinal_ex(context_.get(), raw.data(), &size) == 1);
    std::string text;
    for (unsigned i = 0; i < size; ++i) {
      text += fmt::format("{:02x}", raw[i]);
    }
    return text;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

std::string of_file(const std::filesystem::path& path, const EVP_MD* kind, bool as_git_blob) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat about{};
  const auto fail = [&] {
    const int reason = errno;
    ::close(fd);
    throw Error("M001", fmt::format("cannot read {}: {}", path.string(), std::strerror(reason)));
  };
  if (fd < 0 || ::fstat(fd, &about) != 0) {
    fail();
  }
  Digest digest(kind);
  if (as_git_blob) {
    const std::string head = fmt::format("blob {}", about.st_size);
    digest.add(head.c_str(), head.size() + 1);
  }
  std::vector<char> buffer(1 << 20);
  while (true) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno != EINTR) {
      fail();
    }
    if (got == 0) {
      break;
    }
    digest.add(buffer.data(), got > 0 ? static_cast<size_t>(got) : 0);
  }
  ::close(fd);
  return digest.hex();
}

}  // namespace

std::string sha256_of_file(const std::filesystem::path& path) {
  return of_file(path, EVP_sha256(), false);
}

std::string git_blob_of_file(const std::filesystem::path& path) {
  return of_file(path, EVP_sha1(), true);
}

std::string git_blob_of_text(std::string_view text) {
  Digest digest(EVP_sha1());
  const std::string head = fmt::format("blob {}", text.size());
  digest.add(head.c_str(), head.size() + 1);
  digest.add(text.data(), text.size());
  return digest.hex();
}

}  // namespace sft
