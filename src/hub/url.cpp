#include "hub/url.h"

#include <algorithm>
#include <cctype>

#include "core/strings.h"

namespace sft {

std::string url_encode(std::string_view text, bool keep_slashes) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = byte < 0x80 && (std::isalnum(byte) != 0 ||
                                       std::string_view("-._~").find(c) != std::string_view::npos);
    if (plain || (keep_slashes && c == '/')) {
      out += c;
    } else {
      out += '%';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  return out;
}

std::optional<std::string> url_origin(std::string_view url) {
  const size_t colon = url.find("://");
  if (colon == std::string_view::npos ||
      std::ranges::any_of(url, [](char c) { return static_cast<unsigned char>(c) <= ' '; })) {
    return std::nullopt;
  }
  const std::string scheme = to_lower(url.substr(0, colon));
  const std::string_view rest = url.substr(colon + 3);
  std::string host = to_lower(rest.substr(0, rest.find_first_of("/?#\\")));
  if ((scheme != "http" && scheme != "https") || host.empty() || host.front() == ':' ||
      host.find('@') != std::string::npos) {
    return std::nullopt;
  }
  const std::string usual = scheme == "http" ? ":80" : ":443";
  if (host.ends_with(usual)) {
    host.resize(host.size() - usual.size());
  }
  return scheme + "://" + host;
}

std::optional<std::string> resolve_url(std::string_view base, std::string_view location) {
  const auto origin = url_origin(base);
  if (!origin || location.empty()) {
    return std::nullopt;
  }
  std::string url;
  if (location.starts_with("//")) {
    url = std::string(base.substr(0, base.find(':') + 1)) + std::string(location);
  } else if (location.find("://") < location.find_first_of("/?#")) {
    url = location;
  } else if (location.front() == '/') {
    url = *origin + std::string(location);
  } else {
    const std::string_view path = base.substr(0, base.find_first_of("?#"));
    const size_t slash = path.rfind('/');
    url = slash < path.find("://") + 3 ? std::string(path) + "/"
                                       : std::string(path.substr(0, slash + 1));
    url += location;
  }
  return url_origin(url) ? std::optional(url) : std::nullopt;
}

std::string url_for_people(std::string_view url) {
  return std::string(url.substr(0, url.find_first_of("?#")));
}

}  // namespace sft
