#include "watch/http.h"

#include <fmt/format.h>

#include "core/strings.h"

namespace sft {

namespace {

const char* reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 409:
      return "Conflict";
    case 421:
      return "Misdirected Request";
    case 431:
      return "Request Header Fields Too Large";
    default:
      return "Service Unavailable";
  }
}

constexpr std::string_view kSafety =
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\nCache-Control: no-store\r\n";

int digit(char c) {
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : -1;
}

std::string decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 &&
        digit(text[i + 2]) >= 0) {
      out += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

bool is_visible(std::string_view text) {
  for (const char c : text) {
    if (c <= ' ' || c == 127) {
      return false;
    }
  }
  return !text.empty();
}

}  // namespace

std::string PageRequest::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

PageParse parse_request(std::string_view bytes) {
  const size_t end = bytes.substr(0, kMostHead).find("\r\n\r\n");
  if (end == std::string_view::npos) {
    return {std::nullopt, bytes.size() >= kMostHead ? 431 : 0};
  }
  constexpr PageParse kBad{std::nullopt, 400};
  PageRequest request;
  bool first = true;
  for (std::string_view rest = bytes.substr(0, end + 2); !rest.empty();) {
    const size_t at = rest.find("\r\n");
    const std::string_view line = rest.substr(0, at);
    rest.remove_prefix(at + 2);
    if (first) {
      const auto words = split(line, ' ');
      if (words.size() != 3 || !words[2].starts_with("HTTP/1.") || !words[1].starts_with('/') ||
          !is_visible(words[1])) {
        return kBad;
      }
      request.method = words[0];
      const size_t question = words[1].find('?');
      request.path = words[1].substr(0, question);
      if (question != std::string::npos) {
        for (const std::string& part : split(words[1].substr(question + 1), '&')) {
          const size_t equals = part.find('=');
          request.query[decoded(part.substr(0, equals))] =
              equals == std::string::npos ? "" : decoded(part.substr(equals + 1));
        }
      }
      first = false;
      continue;
    }
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos || !is_visible(line.substr(0, colon))) {
      return kBad;
    }
    const auto [place, fresh] = request.headers.try_emplace(
        to_lower(line.substr(0, colon)), std::string(trim(line.substr(colon + 1))));
    if (!fresh) {
      return kBad;
    }
  }
  if (request.headers.contains("transfer-encoding") ||
      (request.headers.contains("content-length") && request.header("content-length") != "0")) {
    return kBad;  // nobody has anything to send here
  }
  return {std::move(request), 0};
}

std::string http_text(const PageAnswer& answer, bool with_body) {
  return fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n{}{}\r\n{}",
      answer.status, reason(answer.status), answer.type, answer.body.size(), kSafety,
      answer.more_headers, with_body ? std::string_view(answer.body) : std::string_view());
}

std::string event_stream_head() {
  return fmt::format(
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n{}\r\n"
      "retry: 1000\n\n",
      kSafety);
}

}  // namespace sft
