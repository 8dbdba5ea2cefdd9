#include "hub/digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <memory>
#include <span>

#include "core/error.h"
#include "core/file.h"

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

std::string of_file(const fs::path& path, const EVP_MD* kind, bool as_git_blob) {
  Digest digest(kind);
  if (as_git_blob) {
    std::error_code failed;
    const std::string head = fmt::format("blob {}", fs::file_size(path, failed));
    digest.add(head.c_str(), head.size() + 1);
  }
  read_pieces(path, ReadFrom::anywhere, 0, kToEnd,
              [&](std::span<const std::byte> piece) { digest.add(piece.data(), piece.size()); });
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
