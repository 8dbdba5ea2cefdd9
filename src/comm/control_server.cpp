#include "comm/control_server.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>

namespace sft::control {

namespace {

constexpr size_t kMaxBacklog = size_t{128} << 20;  // unread bytes that a member may leave us with
constexpr uint64_t kListener = 0, kWake = 1, kFirst = 2;

// The loop's connections, and the coordinator that they speak to.
class Loop {
 public:
  Loop(CoordinatorSettings settings, int listener, int wake)
      : coordinator_(std::move(settings), steady_now()),
        listener_(listener),
        poll_(::epoll_create1(EPOLL_CLOEXEC)) {
    watch(listener, EPOLLIN, kListener, EPOLL_CTL_ADD);
    watch(wake, EPOLLIN, kWake, EPOLL_CTL_ADD);
  }

  bool idle() const { return coordinator_.idle(); }

  void once(Time longest) {
    const Time wait = std::clamp<Time>(coordinator_.deadline() - steady_now(), 0, longest);
    std::array<epoll_event, 64> events{};
    const int count = ::epoll_wait(poll_.get(), events.data(), static_cast<int>(events.size()),
                                   static_cast<int>(wait / kMillisecond) + 1);
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<size_t>(i)];
      if (event.data.u64 == kListener) {
        accept_all();
      } else if (event.data.u64 >= kFirst) {
        serve(static_cast<int64_t>(event.data.u64), event.events);
      }
      act();
    }
    coordinator_.tick(steady_now());
    act();
  }

 private:
  void watch(int fd, uint32_t what, uint64_t id, int how) {
    epoll_event event{};
    event.events = what;
    event.data.u64 = id;
    ::epoll_ctl(poll_.get(), how, fd, &event);
  }

  void accept_all() {
    while (true) {
      Fd socket(::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!socket) {
        return;
      }
      const int64_t id = next_++;
      watch(socket.get(), EPOLLIN, static_cast<uint64_t>(id), EPOLL_CTL_ADD);
      connections_.emplace(id, Connection(std::move(socket)));
      coordinator_.opened(id, steady_now());
    }
  }

  void serve(int64_t id, uint32_t events) {
    const auto found = connections_.find(id);
    if (found == connections_.end()) {
      return;
    }
    Connection& connection = found->second;
    std::vector<Message> messages;
    bool open = true;
    try {
      if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        open = connection.read(messages);
      }
    } catch (const Error&) {
      open = false;  // not ours
    }
    for (const Message& m : messages) {
      coordinator_.received(id, m, steady_now());
    }
    if (coordinator_.trusts(id)) {
      connection.trust();
    }
    if (!open || !connection.flush()) {
      gone(id);
    } else {
      rewatch(id, connection);
    }
  }

  void rewatch(int64_t id, const Connection& connection) {
    watch(connection.fd(), connection.wants_to_write() ? EPOLLIN | EPOLLOUT : EPOLLIN,
          static_cast<uint64_t>(id), EPOLL_CTL_MOD);
  }

  void gone(int64_t id) {
    if (connections_.erase(id) != 0) {
      coordinator_.closed(id, steady_now());
    }
  }

  void act() {
    for (auto actions = coordinator_.take_actions(); !actions.empty();
         actions = coordinator_.take_actions()) {
      for (const Coordinator::Action& a : actions) {
        const auto found = connections_.find(a.connection);
        if (found == connections_.end()) {
          continue;
        }
        if (!a.message) {
          found->second.flush();
          ::shutdown(found->second.fd(), SHUT_WR);
          connections_.erase(found);
          continue;
        }
        found->second.send(*a.message);
        if (!found->second.flush() || found->second.backlog() > kMaxBacklog) {
          gone(a.connection);
        } else {
          rewatch(a.connection, found->second);
        }
      }
    }
  }

  Coordinator coordinator_;
  int listener_;
  Fd poll_;
  int64_t next_ = kFirst;
  std::map<int64_t, Connection> connections_;
};

}  // namespace

ControlServer::ControlServer(CoordinatorSettings settings, const std::vector<int>& ports,
                             bool loopback_only)
    : wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  for (const int port : ports) {
    if (auto listener = listen_on(port, loopback_only)) {
      listener_ = std::move(*listener);
      break;
    }
  }
  if (!listener_) {
    throw Error("N023",
                fmt::format("the ports {} for the run's store are all taken on this machine",
                            fmt::join(ports, ", ")))
        .hint("choose another MASTER_PORT, or set SFT_STORE_PORT on all ranks");
  }
  port_ = port_of(listener_.get());
  thread_ = std::thread([this, s = std::move(settings)]() mutable { run(std::move(s)); });
}

void ControlServer::run(CoordinatorSettings settings) {
  Loop loop(std::move(settings), listener_.get(), wake_.get());
  while (!stop_) {
    loop.once(kSecond);
  }
  uint64_t ignored = 0;
  (void)!::read(wake_.get(), &ignored, sizeof ignored);
  const Time end = steady_now() + linger_;
  while (!loop.idle() && steady_now() < end) {
    loop.once(50 * kMillisecond);
  }
}

ControlServer::~ControlServer() {
  stop_ = true;
  const uint64_t one = 1;
  const auto ignored = ::write(wake_.get(), &one, sizeof one);
  (void)ignored;
  thread_.join();
}

}  // namespace sft::control
