// A member's one connection to the coordinator, for the drivers: opens it, waits for news on it.
// `wake` may be called from any thread; all else from one.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/socket.h"

struct pollfd;

namespace sft::control {

class Member;

struct LinkNews {
  bool opened = false, closed = false;
  std::optional<std::string> open_failed;
  std::vector<Message> messages;
};

class Link {
 public:
  Link(std::string host, std::vector<int> ports);

  void open(int address);
  void send(const Message& message);
  void close();  // after what was sent
  void flush();
  bool drained() const { return !connection_ || !connection_->wants_to_write(); }
  // Waits for something to happen, on the connection or on one of `others`, or for `wake`.
  LinkNews wait(Time longest, std::vector<pollfd>* others = nullptr);
  void wake();

 private:
  std::string host_;
  std::vector<int> ports_;
  Fd wake_;
  std::optional<Connector> connector_;
  std::optional<Connection> connection_;
  std::optional<std::string> failed_;
  bool broke_ = false;
};

// Passes the news on.
void tell(Member& member, const LinkNews& news);
uint64_t random_number();
std::string random_seed();  // 32 bytes that nobody can guess

}  // namespace sft::control
