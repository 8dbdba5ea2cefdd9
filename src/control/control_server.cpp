#include "control/control_server.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <map>

#include "core/threads.h"

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
    const Time due = std::min(coordinator_.deadline(), closed_until_);
    const Time wait = std::clamp<Time>(due - steady_now(), 0, longest);
    std::array<epoll_event, 256> events{};
    const int count = ::epoll_wait(poll_.get(), events.data(), static_cast<int>(events.size()),
                                   static_cast<int>(wait / kMillisecond) + 1);
    // Who is here is heard before others come in.
    bool knocks = false;
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<size_t>(i)];
      knocks = knocks || event.data.u64 == kListener;
      if (event.data.u64 >= kFirst) {
        serve(static_cast<int64_t>(event.data.u64), event.events);
        act();
      }
    }
    if (knocks) {
      accept_some();
    }
    if (steady_now() >= closed_until_) {
      closed_until_ = INT64_MAX;
      watch(listener_, EPOLLIN, kListener, EPOLL_CTL_MOD);
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

  // A member's hello is mostly here before it is accepted: it is read at once, and so counts before
  // the next stranger may push it out.
  void accept_some() {
    constexpr int kAtOnce = 64;
    for (int i = 0; i < kAtOnce; ++i) {
      uint64_t address = 0;
      int failure = 0;
      auto socket = accept_on(listener_, address, failure);
      if (!socket) {
        if (failure == EMFILE || failure == ENFILE || failure == ENOBUFS || failure == ENOMEM) {
          closed_until_ = steady_now() + 100 * kMillisecond;  // or the loop would only turn
          watch(listener_, 0, kListener, EPOLL_CTL_MOD);
        }
        return;
      }
      const int64_t id = next_++;
      watch(socket->get(), EPOLLIN, static_cast<uint64_t>(id), EPOLL_CTL_ADD);
      connections_.emplace(id, Connection(std::move(*socket)));
      coordinator_.opened(id, address, steady_now());
      act();
      serve(id, EPOLLIN);
      act();
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
  Time closed_until_ = INT64_MAX;  // no handles are left: nobody is let in for a while
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
  thread_ = start_thread("the run's store",
                         [this, s = std::move(settings)]() mutable { run(std::move(s)); });
}

void ControlServer::run(CoordinatorSettings settings) {
  // Strangers leave the program the handles that it needs itself.
  rlimit handles{};
  if (::getrlimit(RLIMIT_NOFILE, &handles) == 0 && handles.rlim_cur != RLIM_INFINITY) {
    settings.max_strangers = std::clamp<size_t>(handles.rlim_cur / 4, 16, settings.max_strangers);
  }
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
