#include "hub/http.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <mutex>

#include "core/fd.h"
#include "core/file.h"
#include "core/numbers.h"
#include "core/strings.h"
#include "hub/curl_library.h"
#include "hub/errors.h"
#include "hub/url.h"

namespace sft {

namespace {

constexpr int kMostRedirects = 5;
constexpr size_t kMostHeaderBytes = 1 << 20;
constexpr std::chrono::seconds kRefusalTime(30);  // for the text of a failure to end

// What libcurl's callbacks share during one exchange. They must not throw through C, so an
// exception is kept here and thrown afterwards.
struct Exchange {
  const HttpRequest* request = nullptr;
  const HubReport* report = nullptr;
  HttpResponse response;
  size_t header_bytes = 0;
  bool answered = false;
  bool enough = false;                              // of the text of a failure, which need not end
  std::chrono::steady_clock::time_point refused{};  // when a failure's text began
  Fd file;
  int64_t sent = 0;
  std::exception_ptr failure;

  template <class Work>
  bool guarded(Work&& work) {
    try {
      work();
      return true;
    } catch (...) {
      failure = std::current_exception();
      return false;
    }
  }
};

size_t take_header(char* data, size_t, size_t bytes, void* user) {
  auto& x = *static_cast<Exchange*>(user);
  const std::string_view line = trim(std::string_view(data, bytes));
  x.header_bytes += bytes;
  if (x.header_bytes > kMostHeaderBytes) {
    return 0;
  }
  if (line.starts_with("HTTP/")) {  // a new answer: those before were "100 Continue" or a proxy's
    x.response.headers.clear();
    const size_t blank = line.find(' ');
    const std::string_view code =
        blank == std::string_view::npos ? "" : line.substr(blank + 1).substr(0, 3);
    x.response.status = static_cast<int>(whole_number(code, 100, 999).value_or(0));
  } else if (const size_t colon = line.find(':'); colon != std::string_view::npos) {
    x.response.headers[to_lower(line.substr(0, colon))] = std::string(trim(line.substr(colon + 1)));
  }
  return bytes;
}

size_t take_body(char* data, size_t, size_t bytes, void* user) {
  auto& x = *static_cast<Exchange*>(user);
  const bool fine = x.guarded([&] {
    if (x.response.ok() && x.request->sink) {
      if (!x.answered && x.request->on_answer) {
        x.request->on_answer(x.response);
      }
      x.answered = true;
      x.request->sink({data, bytes});
      return;
    }
    // The text of a failure is shown in part only; of a success all is needed.
    const auto room = x.response.ok() ? x.request->largest_answer : int64_t{64} << 10;
    if (static_cast<int64_t>(x.response.body.size() + bytes) > room) {
      if (x.response.ok()) {
        throw Error("M308", fmt::format("the answer of {} is larger than {}",
                                        url_for_people(x.request->url),
                                        human_bytes(static_cast<double>(room))))
            .hint("check HF_ENDPOINT: it must be a hub");
      }
      x.enough = true;
      return;
    }
    x.response.body.append(data, bytes);
  });
  return fine && !x.enough ? bytes : 0;
}

size_t give_body(char* data, size_t size, size_t count, void* user) {
  auto& x = *static_cast<Exchange*>(user);
  const auto& piece = *x.request->file;
  const auto left = static_cast<size_t>(piece.bytes - x.sent);
  const ssize_t got =
      ::pread(x.file.get(), data, std::min(size * count, left), piece.offset + x.sent);
  if (got < 0 || (got == 0 && left > 0)) {
    return CURL_READFUNC_ABORT;
  }
  x.sent += got;
  return x.guarded([&] {
    if (x.request->on_sent) {
      x.request->on_sent(x.sent);
    }
  })
             ? static_cast<size_t>(got)
             : CURL_READFUNC_ABORT;
}

int rewind_body(void* user, curl_off_t offset, int origin) {
  if (origin != SEEK_SET) {
    return CURL_SEEKFUNC_CANTSEEK;
  }
  static_cast<Exchange*>(user)->sent = offset;
  return CURL_SEEKFUNC_OK;
}

int look_around(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto& x = *static_cast<Exchange*>(user);
  return x.guarded([&] {
    if (x.report->stopped && x.report->stopped()) {
      throw Error(kStoppedAtHub, "stopped while talking to the hub");
    }
    if (x.response.status >= 300) {
      const auto now = std::chrono::steady_clock::now();
      x.refused = x.refused.time_since_epoch().count() == 0 ? now : x.refused;
      x.enough = x.enough || now - x.refused > kRefusalTime;
    }
  }) && !x.enough
             ? 0
             : 1;
}

[[noreturn]] void fail(CURLcode code, const std::string& url, const std::string& detail,
                       const HttpRequest& request) {
  const std::string host = url_origin(url).value_or(url_for_people(url));
  const std::string why = detail.empty() ? curl().easy_strerror(code) : detail;
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
      throw Error(kHostUnknown, fmt::format("the host of {} is not known here", host))
          .hint("check the network and HF_ENDPOINT; HF_HUB_OFFLINE=1 uses only what is cached");
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_PROXY:
      throw Error(kProxyFails,
                  fmt::format("the proxy on the way to {} does not work: {}", host, why))
          .hint("check HTTPS_PROXY, HTTP_PROXY and NO_PROXY");
    case CURLE_COULDNT_CONNECT:
      throw Error(kHostAway, fmt::format("{} cannot be reached: {}", host, why))
          .hint("check the network, the proxy and HF_ENDPOINT; HF_HUB_OFFLINE=1 uses the cache");
    case CURLE_OPERATION_TIMEDOUT:
      throw Error(kHostSilent, fmt::format("{} was silent for {} seconds or too slow", host,
                                           request.silence_seconds))
          .hint("wait longer with HF_HUB_DOWNLOAD_TIMEOUT=60 (HF_HUB_ETAG_TIMEOUT for questions)");
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      throw Error(kNoTrustedConnection, fmt::format("no trusted connection to {}: {}", host, why))
          .hint("install ca-certificates, or name your own authority's file in SSL_CERT_FILE");
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_WEIRD_SERVER_REPLY:
      throw Error("M308", fmt::format("{} does not answer in HTTP: {}", url_for_people(url), why))
          .hint("check HF_ENDPOINT: an address such as https://hub.example.org");
    default:
      throw Error(kBrokenOff, fmt::format("the connection to {} broke off: {}", host, why))
          .hint("run the command again; what was fetched is kept");
  }
}

// Runs an exchange to its end; the progress callback is asked once a second at least.
CURLcode perform(CURLM* connections, CURL* handle) {
  if (curl().multi_add_handle(connections, handle) != CURLM_OK) {
    return CURLE_FAILED_INIT;
  }
  int running = 1;
  CURLMcode going = CURLM_OK;
  while (running > 0 && going == CURLM_OK) {
    going = curl().multi_perform(connections, &running);
    if (running > 0 && going == CURLM_OK) {
      going = curl().multi_poll(connections, nullptr, 0, 1000, nullptr);
    }
  }
  int left = 0;
  const CURLMsg* const ended = curl().multi_info_read(connections, &left);
  const CURLcode code = ended != nullptr ? ended->data.result : CURLE_OUT_OF_MEMORY;
  curl().multi_remove_handle(connections, handle);
  return code;
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

}  // namespace

// Connections are kept for the next exchange, one set for each exchange that runs at a time. What
// an exchange itself remembers is not: curl 7.88 would join a header that begins with a blank to
// the last one of the answer before, whose memory is gone.
struct HttpClient::Connections {
  std::mutex mutex;
  std::vector<CURLM*> free;

  CURLM* take() {
    const std::lock_guard lock(mutex);
    if (free.empty()) {
      CURLM* fresh = curl().multi_init();
      SFT_ASSERT(fresh != nullptr);
      return fresh;
    }
    CURLM* kept = free.back();
    free.pop_back();
    return kept;
  }
  void give_back(CURLM* kept) {
    const std::lock_guard lock(mutex);
    free.push_back(kept);
  }
};

std::string HttpResponse::header(const std::string& name) const {
  for (const auto* of : {&headers, &first_headers}) {
    if (const auto it = of->find(name); it != of->end()) {
      return it->second;
    }
  }
  return "";
}

HttpClient::HttpClient(const HubEnvironment& environment)
    : environment_(environment), connections_(std::make_unique<Connections>()) {
  curl();
  const auto origin = url_origin(environment.endpoint);
  if (!origin) {
    throw Error("C112", fmt::format("HF_ENDPOINT is \"{}\", which is not an address",
                                    url_for_people(environment.endpoint)))
        .hint("HF_ENDPOINT=https://huggingface.co, or unset it");
  }
  origin_ = *origin;
  if (environment.implicit_token) {
    token_ = environment.token();
  }
}

HttpClient::~HttpClient() {
  for (CURLM* kept : connections_->free) {
    curl().multi_cleanup(kept);
  }
}

HttpResponse HttpClient::send_once(const HttpRequest& request, const std::string& url) const {
  Exchange x;
  x.request = &request;
  x.report = &environment_.report;
  struct Cleanup {
    Connections& all;
    CURLM* connections;
    CURL* handle;
    curl_slist* list = nullptr;
    ~Cleanup() {
      curl().easy_cleanup(handle);
      curl().slist_free_all(list);
      all.give_back(connections);
    }
  } cleanup{*connections_, connections_->take(), curl().easy_init()};
  CURL* h = cleanup.handle;
  SFT_ASSERT(h != nullptr);
  std::array<char, CURL_ERROR_SIZE> detail{};
  const auto add_header = [&](const std::string& line) {
    cleanup.list = curl().slist_append(cleanup.list, line.c_str());
  };
  curl().easy_setopt(h, CURLOPT_URL, url.c_str());
#if LIBCURL_VERSION_NUM >= 0x075500
  curl().easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
#else  // Ubuntu 22.04
  curl().easy_setopt(h, CURLOPT_PROTOCOLS, static_cast<long>(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
  curl().easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
  curl().easy_setopt(h, CURLOPT_ERRORBUFFER, detail.data());
  curl().easy_setopt(h, CURLOPT_USERAGENT, environment_.user_agent.c_str());
  curl().easy_setopt(h, CURLOPT_CONNECTTIMEOUT, static_cast<long>(request.silence_seconds));
  curl().easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl().easy_setopt(h, CURLOPT_LOW_SPEED_TIME, static_cast<long>(request.silence_seconds));
  curl().easy_setopt(h, CURLOPT_TIMEOUT, static_cast<long>(request.total_seconds));
  curl().easy_setopt(h, CURLOPT_BUFFERSIZE, 256L << 10);
  curl().easy_setopt(h, CURLOPT_HEADERFUNCTION, take_header);
  curl().easy_setopt(h, CURLOPT_HEADERDATA, &x);
  curl().easy_setopt(h, CURLOPT_WRITEFUNCTION, take_body);
  curl().easy_setopt(h, CURLOPT_WRITEDATA, &x);
  curl().easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
  curl().easy_setopt(h, CURLOPT_XFERINFOFUNCTION, look_around);
  curl().easy_setopt(h, CURLOPT_XFERINFODATA, &x);
  const std::string authorities =
      environment_.ca_file.empty() ? system_authorities() : environment_.ca_file;
  if (!authorities.empty()) {
    curl().easy_setopt(h, CURLOPT_CAINFO, authorities.c_str());
  }
  if (request.method == "HEAD") {
    curl().easy_setopt(h, CURLOPT_NOBODY, 1L);
  } else if (request.file) {
    x.file = open_file(request.file->path, O_RDONLY);
    if (!x.file) {
      fail_read(request.file->path);
    }
    curl().easy_setopt(h, CURLOPT_UPLOAD, 1L);
    curl().easy_setopt(h, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    curl().easy_setopt(h, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.file->bytes));
    curl().easy_setopt(h, CURLOPT_READFUNCTION, give_body);
    curl().easy_setopt(h, CURLOPT_READDATA, &x);
    curl().easy_setopt(h, CURLOPT_SEEKFUNCTION, rewind_body);
    curl().easy_setopt(h, CURLOPT_SEEKDATA, &x);
    add_header("Expect:");
  } else if (request.method != "GET") {
    curl().easy_setopt(h, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    curl().easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE,
                       static_cast<curl_off_t>(request.body.size()));
    curl().easy_setopt(h, CURLOPT_POSTFIELDS, request.body.data());
    add_header("Expect:");
  }
  for (const std::string& line : request.headers) {
    add_header(line);
  }
  if (request.with_token && !token_.empty() && url_origin(url) == origin_) {
    add_header("Authorization: Bearer " + token_);
  }
  curl().easy_setopt(h, CURLOPT_HTTPHEADER, cleanup.list);
  const CURLcode code = perform(cleanup.connections, h);
  if (x.failure) {
    std::rethrow_exception(x.failure);
  }
  if (code != CURLE_OK && !x.enough) {
    fail(code, url, detail.data(), request);
  }
  if (x.response.ok() && request.sink && !x.answered && request.on_answer) {
    request.on_answer(x.response);  // an empty body
  }
  x.response.url = url;
  return std::move(x.response);
}

HttpResponse HttpClient::send(const HttpRequest& request) const {
  std::string url = request.url;
  std::map<std::string, std::string> first;
  for (int hop = 0; hop <= kMostRedirects; ++hop) {
    HttpResponse response = send_once(request, url);
    const bool follow = request.method == "GET" || request.method == "HEAD";
    if (!is_redirect(response.status) || !follow) {
      response.first_headers = std::move(first);
      return response;
    }
    const auto next = resolve_url(url, response.header("location"));
    if (!next || (url.starts_with("https:") && !next->starts_with("https:"))) {
      throw Error("M308",
                  fmt::format("{} redirects to a place that cannot be used", url_for_people(url)))
          .hint("check HF_ENDPOINT: it must be a hub");
    }
    if (hop == 0) {
      first = std::move(response.headers);
    }
    url = *next;
  }
  throw Error("M308", fmt::format("{} redirects more than {} times", url_for_people(request.url),
                                  kMostRedirects))
      .hint("check HF_ENDPOINT: it must be a hub");
}

}  // namespace sft
