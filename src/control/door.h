// The coordinator's door: connections that have not shown yet that they belong to this run. They
// are few, from one address fewer still, and have little time; where the run has a secret, nobody
// comes in who does not know it. Nothing that is said here reaches the run.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/wire.h"

namespace sft::control {

struct DoorSettings {
  std::string job, token;
  std::string seed;             // of the nonces
  Time greeting = 5 * kSecond;  // for all that is said here
  size_t most = 512, most_of_one_address = 128;
};

class Door {
 public:
  explicit Door(DoorSettings settings) : settings_(std::move(settings)) {}

  // One who has said the right things.
  struct Guest {
    Hello hello;
    bool launcher = false;
    int64_t ranks = 0;  // a launcher's
  };
  struct Answer {
    std::optional<Message> say;
    bool close = false;  // after that
    std::optional<Guest> guest;
  };

  // Returns the connection that must go for this one, or -1: one of the address that has the most,
  // of these one that has not said a word, of these the oldest.
  int64_t opened(int64_t connection, uint64_t address, Time now);
  bool holds(int64_t connection) const { return strangers_.contains(connection); }
  Answer heard(int64_t connection, const Message& message);
  bool left(int64_t connection);  // false: it was not here
  std::vector<int64_t> late(Time now) const;
  Time deadline() const;
  // This process slept until now: what they said meanwhile has yet to be read.
  void woke(Time now);

 private:
  struct Stranger {
    uint64_t address = 0;
    Time since = 0;
    std::optional<Guest> claims;  // until the proof
    std::string hello, nonce;
  };
  static Answer refusal(Code code, const char* text);
  Answer greet(Stranger& stranger, const Message& message);

  DoorSettings settings_;
  uint64_t nonces_ = 0;
  std::map<int64_t, Stranger> strangers_;  // numbers grow, so the first is the oldest
  std::map<uint64_t, size_t> of_address_;
};

}  // namespace sft::control
