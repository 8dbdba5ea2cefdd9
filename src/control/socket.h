// TCP as the control plane needs it: non-blocking sockets over IPv4 and IPv6, a resolver that never
// makes anyone wait, and a connection that turns bytes into messages. Used by the drivers only.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "control/wire.h"
#include "core/fd.h"

namespace sft::control {

Time steady_now();

// Listens on all addresses (or on loopback only), IPv6 and IPv4 with one socket where the system
// can. Nothing when the port is taken; `port` 0 takes any. N023 for other failures.
std::optional<Fd> listen_on(int port, bool loopback_only);
int port_of(int socket);

// A waiting connection; nothing when none waits or (`failure`: errno) none can be had. `address` is
// one number for all connections of one machine: of IPv6 the network counts, because a machine may
// choose the rest.
std::optional<Fd> accept_on(int listener, uint64_t& address, int& failure);

// One try to reach host:port: resolves in a thread of its own, then connects to each address in
// turn.
class Connector {
 public:
  Connector(const std::string& host, int port);
  // Call every few milliseconds: the connected socket, nothing while it is under way; throws N027
  // when it has failed.
  std::optional<Fd> poll();

 private:
  struct Resolved;
  bool next_address();
  std::shared_ptr<Resolved> resolved_;
  std::string place_;
  size_t next_ = 0;
  Fd socket_;
};

// A connected socket with its unread and unsent bytes.
class Connection {
 public:
  explicit Connection(Fd socket);
  int fd() const { return socket_.get(); }
  void trust() {
    reader_.set_limit(kMaxFrame);
    at_once_ = size_t{1} << 20;
  }
  // Both return false when the connection has ended. N022 from `read` for what is not ours. It
  // takes what is there, but no more at once than would hold up the others.
  bool read(std::vector<Message>& messages);
  bool flush();
  void send(const Message& message) { unsent_ += encode(message); }
  bool wants_to_write() const { return sent_ < unsent_.size(); }
  size_t backlog() const { return unsent_.size() - sent_; }

 private:
  Fd socket_;
  FrameReader reader_;
  std::string unsent_;
  size_t sent_ = 0;
  size_t at_once_ = kMaxHello;  // a stranger has no more to say
};

}  // namespace sft::control
