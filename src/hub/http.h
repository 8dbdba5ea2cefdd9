// One HTTP exchange after another, through libcurl. Knows the token and to whom it may be shown,
// and nothing else of the hub. Used by everything in this folder that talks to a server.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hub/environment.h"

namespace sft {

struct HttpResponse {
  int status = 0;
  std::string url{};                                   // the one that answered, after redirects
  std::map<std::string, std::string> headers{};        // of the last answer; names in lower case
  std::map<std::string, std::string> first_headers{};  // of the first, where there were redirects
  std::string body{};                                  // unless a sink took it

  // The header's value, of the last answer and then of the first, or "".
  std::string header(const std::string& name) const;
  bool ok() const { return status >= 200 && status < 300; }
};

// A piece of a file as the body of a request.
struct HttpFileBody {
  std::filesystem::path path;
  int64_t offset = 0, bytes = 0;
};

struct HttpRequest {
  std::string method = "GET";
  std::string url;
  std::vector<std::string> headers{};  // "Name: value"
  std::string body{};
  std::optional<HttpFileBody> file{};
  bool with_token = true;             // sent to the endpoint's own host only
  int64_t largest_answer = 16 << 20;  // bytes of `body`; more is M308
  int silence_seconds = 10;           // without a byte: S303
  int total_seconds = 0;              // 0: no limit
  // Takes the body of a 2xx answer piece by piece; called with the headers once before the first.
  std::function<void(const HttpResponse&)> on_answer{};
  std::function<void(std::span<const char>)> sink{};
  std::function<void(int64_t bytes)> on_sent{};  // bytes of `file` sent so far
};

// Several threads may use one client at once.
class HttpClient {
 public:
  explicit HttpClient(const HubEnvironment& environment);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Follows redirects of GET and HEAD (five at most, never from https to http). Any status is an
  // answer; what keeps one from coming is thrown: S301 name not found, S302 not reachable, S303
  // too slow, S304 certificate or TLS, S305 broken off, S306 proxy, M308 too large or no HTTP,
  // X011 stopped. What `on_answer` and `sink` throw comes out as it is.
  HttpResponse send(const HttpRequest& request) const;

  const HubEnvironment& environment() const { return environment_; }
  bool has_token() const { return !token_.empty(); }
  void set_token(std::string token) { token_ = std::move(token); }

 private:
  struct Connections;
  HttpResponse send_once(const HttpRequest& request, const std::string& url) const;

  HubEnvironment environment_;
  std::string token_, origin_;
  std::unique_ptr<Connections> connections_;
};

}  // namespace sft
