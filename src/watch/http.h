// As much of HTTP/1.1 as a page on loopback needs: a request's head, which is all that is taken,
// and answers that end their connection. Pure functions; the server owns the sockets.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace sft {

inline constexpr size_t kMostHead = 8192;  // bytes of a request

struct PageRequest {
  std::string method, path;                    // the path as it was sent: nothing in it is decoded
  std::map<std::string, std::string> query;    // names and values decoded
  std::map<std::string, std::string> headers;  // names in lower case; one that comes twice: 400

  std::string header(const std::string& name) const;
};

struct PageParse {
  std::optional<PageRequest> request;
  int refused = 0;  // a status, where it cannot be a request any more; neither: more is to come
};
PageParse parse_request(std::string_view bytes);

struct PageAnswer {
  int status = 200;
  std::string type = "text/plain; charset=utf-8", body;
  std::string more_headers{};  // whole lines
};
// With a content policy that lets the page load its own style and script, and nothing else.
std::string http_text(const PageAnswer& answer, bool with_body = true);
// The head of a stream of events, which has no end.
std::string event_stream_head();

}  // namespace sft
