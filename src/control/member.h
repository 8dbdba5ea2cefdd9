// One rank's side of the control plane: finds the coordinator, says who it is, beats, watches its
// own operation's time, and learns of the run's end. A state machine: the driver (control_client)
// moves its messages over TCP, the simulation over a made-up network.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "control/coordinator.h"
#include "control/operations.h"
#include "control/reminder.h"
#include "control/wire.h"

namespace sft::control {

struct MemberSettings {
  Hello hello;  // its nonce is made here
  std::string token;
  std::string seed;        // 32 random bytes, for nonces; needed where there is a token
  int64_t ranks_here = 0;  // a launcher: how many it starts; 0: this is a rank
  int addresses = 1;       // places where the coordinator may be, tried in turn
  Time join_timeout = 600 * kSecond;
  Time greeting = 5 * kSecond;  // for a connection to be made, and again to be answered
  Time silence = 10 * kSecond;
  Time operation_timeout = 1800 * kSecond;
  std::string place;  // "gpu-0 port 29501-29508", for messages
};

class Member {
 public:
  struct Action {
    enum class Kind {
      open,      // connect to address number `address`
      send,      // `message`
      close,     // the connection, or the attempt to make one, after what was sent
      joined,    // a launcher was let in; `message.b` is the attempt
      started,   // all ranks are here
      answered,  // `message`: reply or problem
      failed,    // the run has failed, see cause()
      released,  // all ranks have finished
      order,     // a launcher: `message` is launch or stop
      waits,     // `message.text`: what is waited for, to be shown
    };
    Kind kind;
    Message message;
    int address = 0;
  };
  enum class State { waiting, opening, greeting, joined, started, leaving, released, failed };

  Member(MemberSettings settings, Time now);

  void opened(Time now);
  void open_failed(Time now, const std::string& why);
  void received(const Message& message, Time now);
  void closed(Time now);
  void tick(Time now);
  Time deadline() const;
  std::vector<Action> take_actions() { return std::exchange(actions_, {}); }

  // From the rank's own work. A request goes out once the rank has joined.
  Operations& operations() { return operations_; }
  void request(Message message);
  // Once started: this rank has nothing more to do.
  void finish();
  // This rank has failed. Tells the coordinator, and ends.
  void fail(const Cause& why);
  // A launcher's way back after it has lost the coordinator: connects anew, within `patience`.
  void restart(Time now, Time patience);

  State state() const { return state_; }
  const std::optional<Cause>& cause() const { return cause_; }

 private:
  void send(Message message) { actions_.push_back({Action::Kind::send, std::move(message)}); }
  void act(Action::Kind kind, Message message = {}) {
    actions_.push_back({kind, std::move(message)});
  }
  void beat(const Operations::View& at, Time now, Type type);
  // "rank 3 on gpu-2 was in all-reduce of 12 MB at step 7": what this rank knows best.
  std::string own_part() const;
  void retry(Time now, const std::string& why);
  void refused(const Message& message, Time now);
  void challenged(const Message& message, Time now);
  void proven(const Message& message, Time now);
  void end(Cause cause, bool close);
  bool connected() const {
    return state_ == State::joined || state_ == State::started || state_ == State::leaving;
  }

  MemberSettings settings_;
  State state_ = State::waiting;
  int address_ = 0;
  Time began_, next_try_, since_, heard_ = 0, next_beat_ = 0, backoff_ = 50 * kMillisecond;
  std::string last_problem_ = "no answer yet";
  Reminder reminder_;
  std::string said_, nonce_;  // on this connection: the first frame; the coordinator's nonce
  uint64_t nonces_ = 0;
  bool proven_ = false;  // on this connection: the coordinator knows the secret, or there is none
  Time refused_since_ = -1;
  bool refused_this_round_ = false;
  std::vector<Message> held_;  // requests from before the rank has joined
  Operations operations_;
  int64_t reported_ = 0;  // the operation that was reported for its time
  std::optional<Cause> cause_;
  std::vector<Action> actions_;
};

}  // namespace sft::control
