#include "control/socket.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace sft::control {

Time steady_now() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

namespace {

void set(int socket, int level, int option, int value) {
  ::setsockopt(socket, level, option, &value, sizeof value);
}

std::optional<Fd> listen_in_family(int family, int port, bool loopback_only) {
  Fd socket(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) {
    return std::nullopt;
  }
  set(socket.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  sockaddr_storage address{};
  socklen_t size = 0;
  if (family == AF_INET6) {
    set(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
    auto* six = reinterpret_cast<sockaddr_in6*>(&address);
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(static_cast<uint16_t>(port));
    six->sin6_addr = in6addr_any;
    size = sizeof *six;
  } else {
    auto* four = reinterpret_cast<sockaddr_in*>(&address);
    four->sin_family = AF_INET;
    four->sin_port = htons(static_cast<uint16_t>(port));
    four->sin_addr.s_addr = htonl(loopback_only ? INADDR_LOOPBACK : INADDR_ANY);
    size = sizeof *four;
  }
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(socket.get(), 4096) != 0) {
    return std::nullopt;
  }
  return socket;
}

}  // namespace

std::optional<Fd> listen_on(int port, bool loopback_only) {
  if (!loopback_only) {
    if (auto both = listen_in_family(AF_INET6, port, false)) {
      return both;
    }
    if (errno == EADDRINUSE) {
      return std::nullopt;
    }
  }
  auto four = listen_in_family(AF_INET, port, loopback_only);
  if (!four && errno != EADDRINUSE) {
    throw Error("N023", fmt::format("cannot listen on port {}: {}", port, std::strerror(errno)));
  }
  return four;
}

int port_of(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return 0;
  }
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                                             : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
}

std::optional<Fd> accept_on(int listener, uint64_t& address, int& failure) {
  sockaddr_storage from{};
  socklen_t size = sizeof from;
  Fd socket(
      ::accept4(listener, reinterpret_cast<sockaddr*>(&from), &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
  failure = socket ? 0 : errno;
  if (!socket) {
    return std::nullopt;
  }
  address = 0;
  if (from.ss_family == AF_INET) {
    address = reinterpret_cast<sockaddr_in*>(&from)->sin_addr.s_addr;
  } else if (from.ss_family == AF_INET6) {
    const in6_addr& six = reinterpret_cast<sockaddr_in6*>(&from)->sin6_addr;
    const bool mapped = IN6_IS_ADDR_V4MAPPED(&six);
    std::memcpy(&address, six.s6_addr + (mapped ? 12 : 0), mapped ? 4 : 8);
  }
  return socket;
}

struct Connector::Resolved {
  struct Address {
    sockaddr_storage storage{};
    socklen_t size = 0;
  };
  std::mutex mutex;
  bool done = false;
  std::string problem;
  std::vector<Address> addresses;
};

Connector::Connector(const std::string& host, int port)
    : resolved_(std::make_shared<Resolved>()), place_(fmt::format("{} port {}", host, port)) {
  // A name server may be silent for long: nobody waits for this thread.
  const auto resolve = [result = resolved_, host, port] {
    addrinfo wanted{};
    wanted.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int failure = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &wanted, &found);
    const std::lock_guard lock(result->mutex);
    for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
      Resolved::Address& address = result->addresses.emplace_back();
      std::memcpy(&address.storage, a->ai_addr, a->ai_addrlen);
      address.size = a->ai_addrlen;
    }
    if (failure != 0) {
      result->problem = ::gai_strerror(failure);
    }
    if (found != nullptr) {
      ::freeaddrinfo(found);
    }
    result->done = true;
  };
  try {
    std::thread(resolve).detach();
  } catch (const std::system_error&) {  // no thread is given: then it is waited for
    resolve();
  }
}

bool Connector::next_address() {
  while (next_ < resolved_->addresses.size()) {
    const auto& address = resolved_->addresses[next_++];
    socket_ =
        Fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!socket_) {
      continue;
    }
    if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address.storage),
                  address.size) == 0 ||
        errno == EINPROGRESS) {
      return true;
    }
  }
  socket_.reset();
  return false;
}

std::optional<Fd> Connector::poll() {
  const std::lock_guard lock(resolved_->mutex);
  if (!resolved_->done) {
    return std::nullopt;
  }
  if (!resolved_->problem.empty()) {
    throw Error("N027", fmt::format("{}: {}", place_, resolved_->problem));
  }
  if (next_ == 0 && !next_address()) {
    throw Error("N027", fmt::format("{}: {}", place_, std::strerror(errno)));
  }
  pollfd waiting{socket_.get(), POLLOUT, 0};
  if (::poll(&waiting, 1, 0) <= 0) {
    return std::nullopt;
  }
  int failure = 0;
  socklen_t size = sizeof failure;
  ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &failure, &size);
  if (failure == 0) {
    return std::move(socket_);
  }
  if (!next_address()) {
    throw Error("N027", fmt::format("{}: {}", place_, std::strerror(failure)));
  }
  return std::nullopt;
}

Connection::Connection(Fd socket) : socket_(std::move(socket)) {
  set(socket_.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  set(socket_.get(), SOL_SOCKET, SO_KEEPALIVE, 1);
}

bool Connection::read(std::vector<Message>& messages) {
  char buffer[65536];
  for (size_t taken = 0; taken < at_once_;) {
    const size_t wanted = std::min(sizeof buffer, at_once_ - taken);
    const ssize_t got = ::recv(socket_.get(), buffer, wanted, 0);
    if (got == 0) {
      return false;
    }
    if (got < 0) {
      return errno == EAGAIN || errno == EINTR;
    }
    taken += static_cast<size_t>(got);
    reader_.add({buffer, static_cast<size_t>(got)});
    while (auto message = reader_.next()) {
      messages.push_back(std::move(*message));
    }
    if (static_cast<size_t>(got) < wanted) {
      break;
    }
  }
  return true;
}

bool Connection::flush() {
  while (wants_to_write()) {
    const ssize_t put =
        ::send(socket_.get(), unsent_.data() + sent_, unsent_.size() - sent_, MSG_NOSIGNAL);
    if (put < 0) {
      return errno == EAGAIN || errno == EINTR;
    }
    sent_ += static_cast<size_t>(put);
  }
  unsent_.clear();
  sent_ = 0;
  return true;
}

}  // namespace sft::control
