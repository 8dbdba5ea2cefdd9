#include "control/secret.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <cstdint>

#include "core/error.h"

namespace sft::control {

namespace {

std::string hmac_sha256(std::string_view key, std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> out{};
  unsigned size = 0;
  const bool made = ::HMAC(::EVP_sha256(), key.data(), static_cast<int>(key.size()),
                           reinterpret_cast<const unsigned char*>(text.data()), text.size(),
                           out.data(), &size) != nullptr;
  SFT_ASSERT(made && size == kNonceBytes);
  return {reinterpret_cast<const char*>(out.data()), size};
}

}  // namespace

std::string proof(Side side, std::string_view token, std::string_view coordinator_nonce,
                  std::string_view hello) {
  std::string text = side == Side::member ? "sft member 2\n" : "sft coordinator 2\n";
  SFT_ASSERT(coordinator_nonce.size() == kNonceBytes);  // so that the parts cannot be cut otherwise
  text += coordinator_nonce;
  text += hello;
  return hmac_sha256(token, text);
}

std::string nonce_of(std::string_view seed, uint64_t number) {
  std::string text = "sft nonce ";
  text += std::to_string(number);
  return hmac_sha256(seed, text);
}

bool same_secret(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < b.size(); ++i) {
    const char other = a.empty() ? '\0' : a[i % a.size()];
    difference |= static_cast<unsigned char>(other ^ b[i]);
  }
  return difference == 0;
}

}  // namespace sft::control
