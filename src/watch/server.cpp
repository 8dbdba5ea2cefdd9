#include "watch/server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "core/error.h"

namespace sft {

namespace {

constexpr double kForAHead = 5, kForAnAnswer = 60;  // seconds: longer, and the connection is closed
constexpr size_t kMostUnsent = size_t{4} << 20;     // beyond, an open page waits for its next event
constexpr double kRest = 3;                         // after drawing, so many times as long
constexpr int kTick = 20;                           // milliseconds between looks at the files

double steady() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

[[noreturn]] void refuse(const std::string& host, int port, const std::string& why) {
  throw Error("C186", fmt::format("the page cannot be served at {}:{}: {}", host, port, why))
      .hint("choose another place with --watch_host and --watch_port; 0 takes any free port");
}

struct Addresses {
  addrinfo* first = nullptr;
  ~Addresses() {
    if (first != nullptr) {
      ::freeaddrinfo(first);
    }
  }
};

Fd listen_at(const std::string& host, int port) {
  addrinfo wish{};
  wish.ai_family = AF_UNSPEC;
  wish.ai_socktype = SOCK_STREAM;
  wish.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  Addresses found;
  const int failed = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &wish, &found.first);
  if (failed != 0) {
    refuse(host, port, ::gai_strerror(failed));
  }
  int error = 0;
  for (const addrinfo* a = found.first; a != nullptr; a = a->ai_next) {
    Fd socket(::socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int on = 1;
    if (socket && ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        ::bind(socket.get(), a->ai_addr, a->ai_addrlen) == 0 && ::listen(socket.get(), 16) == 0) {
      return socket;
    }
    error = errno;
  }
  refuse(host, port, std::strerror(error));
}

int bound_port(const Fd& socket) {
  sockaddr_storage where{};
  socklen_t size = sizeof where;
  ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&where), &size);
  return ntohs(where.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&where)->sin6_port
                                           : reinterpret_cast<sockaddr_in*>(&where)->sin_port);
}

}  // namespace

struct WatchServer::Connection {
  Fd socket;
  double since = 0;  // it began, or was last able to send
  std::string in, out;
  size_t sent = 0;
  std::optional<PageRequest> waits;  // for its turn to be drawn
  std::optional<OpenPage> page;
  bool closing = false;  // when all is sent
  bool dead = false;
};

WatchServer::WatchServer(const std::string& host, int port, SiteSettings settings,
                         std::vector<std::filesystem::path> folders)
    : site_(std::move(folders), std::move(settings)), listener_(listen_at(host, port)) {
  port_ = bound_port(listener_);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
    refuse(host, port, std::strerror(errno));
  }
  wake_read_ = Fd(ends[0]);
  wake_write_ = Fd(ends[1]);
}

WatchServer::~WatchServer() = default;

void WatchServer::end() {
  ending_ = true;
  const auto ignored = ::write(wake_write_.get(), "x", 1);
  (void)ignored;
}

void WatchServer::accept_some() {
  while (connections_.size() < kMostConnections) {
    Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) {
      return;
    }
    const int on = 1;
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    auto c = std::make_unique<Connection>();
    c->socket = std::move(socket);
    c->since = steady();
    connections_.push_back(std::move(c));
  }
}

void WatchServer::hear(Connection& c) {
  char bytes[4096];
  const ssize_t got = ::recv(c.socket.get(), bytes, sizeof bytes, 0);
  if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
    c.dead = true;
    return;
  }
  if (got < 0 || c.page || c.closing || c.waits) {
    return;  // nobody has anything to add to a request
  }
  c.in.append(bytes, static_cast<size_t>(got));
  PageParse parse = parse_request(c.in);
  if (parse.refused != 0) {
    c.out = http_text({parse.refused, "text/plain; charset=utf-8", "this is no request\n"});
    c.closing = true;
  } else if (parse.request) {
    c.waits = std::move(parse.request);
    c.in.clear();
  }
}

void WatchServer::answer(Connection& c, const PageRequest& request) {
  Site::Reply reply = site_.reply(request);
  if (reply.answer) {
    c.out = http_text(*reply.answer, request.method != "HEAD");
    c.closing = true;
  } else if (const auto open = std::ranges::count_if(
                 connections_, [](const auto& other) { return other->page.has_value(); });
             static_cast<size_t>(open) >= kMostPages) {
    c.out = http_text(
        {503, "text/plain; charset=utf-8", "too many pages are open\n", "Retry-After: 10\r\n"});
    c.closing = true;
  } else {
    c.out = event_stream_head();
    c.page = std::move(reply.page);
  }
  c.since = steady();
}

void WatchServer::flush(Connection& c) {
  while (c.sent < c.out.size()) {
    const ssize_t n = ::send(c.socket.get(), c.out.data() + c.sent,
                             std::min<size_t>(c.out.size() - c.sent, 1 << 18), MSG_NOSIGNAL);
    if (n < 0) {
      c.dead = errno != EAGAIN && errno != EINTR;
      break;
    }
    c.sent += static_cast<size_t>(n);
    c.since = steady();
  }
  if (c.sent == c.out.size()) {
    c.out.clear();
    c.sent = 0;
    if (c.closing) {
      ::shutdown(c.socket.get(), SHUT_WR);
      c.dead = true;
    }
  }
}

// One drawing at a time, and then a rest, so that training beside it loses little. What is new in
// the loss goes first, also while the other charts rest.
void WatchServer::draw_some(double now) {
  for (size_t i = 0; i < connections_.size(); ++i) {
    Connection& c = *connections_[i];
    const bool page = c.page && c.out.size() - c.sent < kMostUnsent && site_.is_due(*c.page);
    const bool glance = page && now >= next_glance_ && site_.is_glance_due(*c.page);
    if (c.dead || (!glance && (now < next_draw_ || (!c.waits && !page)))) {
      continue;
    }
    const double start = steady();
    if (c.waits) {
      const PageRequest request = std::move(*c.waits);
      c.waits.reset();
      answer(c, request);
    } else {
      c.out += site_.event(*c.page, glance);
    }
    const double took = steady() - start;
    if (took > 0.002) {  // the others have their turn first
      (glance ? next_glance_ : next_draw_) = steady() + (glance ? 1 : kRest) * took;
      std::ranges::rotate(connections_, connections_.begin() + static_cast<ptrdiff_t>(i) + 1);
      return;
    }
  }
}

void WatchServer::work() {
  double next_look = 0;
  while (!ending_) {
    std::vector<pollfd> waiting{{wake_read_.get(), POLLIN, 0}};
    const bool room = connections_.size() < kMostConnections;
    waiting.push_back({listener_.get(), static_cast<short>(room ? POLLIN : 0), 0});
    for (const auto& c : connections_) {
      waiting.push_back(
          {c->socket.get(), static_cast<short>(POLLIN | (c->out.empty() ? 0 : POLLOUT)), 0});
    }
    // Without a page that is open nobody waits for the file.
    const bool idle = connections_.empty() && !site_.behind();
    ::poll(waiting.data(), waiting.size(), site_.behind() ? 0 : idle ? 10 * kTick : kTick);
    if (waiting[1].revents != 0) {
      accept_some();
    }
    for (size_t i = 0; i + 2 < waiting.size(); ++i) {
      if ((waiting[i + 2].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
        hear(*connections_[i]);
      }
    }
    const double now = steady();
    if (now >= next_look) {  // a file that is far away is asked less often
      site_.poll();
      next_look = now + 20 * (steady() - now) * (site_.behind() ? 0 : 1);
    }
    draw_some(now);
    for (const auto& c : connections_) {
      if (!c->dead && !c->out.empty()) {
        flush(*c);
      }
      const double patience = c->page || c->closing ? kForAnAnswer : kForAHead;
      const bool idle_page = c->page && c->out.empty();
      if (!idle_page && !c->waits && steady() - c->since > patience) {
        c->dead = true;
      }
    }
    std::erase_if(connections_, [](const auto& c) { return c->dead; });
  }
}

}  // namespace sft
