// The one party of a run that knows who is there: it lets ranks and node launchers in, keeps the
// store, hears heartbeats, decides when the run has failed and why, and which attempt comes next.
// A state machine: messages and times go in, messages come out; ControlServer moves them over TCP,
// the simulation over a made-up network.
//
// It lives in rank 0 (torchrun, mpirun, srun), for one attempt, or in node 0's launcher (sft
// launch), for all attempts; then `nodes` launchers take part.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/door.h"
#include "control/key_store.h"
#include "control/meetings.h"
#include "control/reminder.h"

namespace sft::control {

struct CoordinatorSettings {
  std::string job, token;
  std::string seed;  // 32 random bytes, for nonces; needed where there is a token
  int world = 1;
  int nodes = 0;  // 0: there are no launchers
  int64_t attempt = 0;
  int64_t max_restarts = 0;
  Time join_timeout = 600 * kSecond;  // until all are here
  Time silence = 10 * kSecond;        // of a rank, until it counts as lost
  Time greeting = 5 * kSecond;        // for a new connection to say who it is
  size_t max_strangers = 512;         // connections that have not shown that they belong here
};

// What ended an attempt.
struct Cause {
  int rank = -1;
  Code code;
  std::string text;
  int exit_code = static_cast<int>(ExitCode::restart);
};

class Coordinator {
 public:
  explicit Coordinator(CoordinatorSettings settings, Time now);

  // `address`: where it comes from, as a number that is the same for all of one machine.
  void opened(int64_t connection, uint64_t address, Time now);
  void received(int64_t connection, const Message& message, Time now);
  void closed(int64_t connection, Time now);
  void tick(Time now);
  // When `tick` is next needed.
  Time deadline() const;

  // What to do, in order: send the message, or close (after what was sent before).
  struct Action {
    int64_t connection;
    std::optional<Message> message;
  };
  std::vector<Action> take_actions();

  int64_t attempt() const { return settings_.attempt; }
  const std::optional<Cause>& cause() const { return cause_; }
  // Nobody needs it any more: all ranks have been released and have left, or the job is over and
  // its launchers have been told and have left.
  bool idle() const;
  // Whether frames of full size may be read from this connection.
  bool trusts(int64_t connection) const { return connections_.contains(connection); }

 private:
  struct Connection {
    enum class Kind { rank, launcher } kind = Kind::rank;
    int number = -1;  // of the rank or node
    Time heard = 0;
  };
  struct Rank {
    int64_t connection = -1;
    uint64_t process = 0;
    std::string host;
    bool done = false;  // said bye
    int64_t operation = 0;
    bool busy = false;
    bool stalls = false;  // computes for longer than an operation may last
    Time at_it_for = 0;   // in the operation, or computing
    std::string name;     // "all-reduce of 12 MB at step 7"; while computing "at step 7" or ""
  };
  struct Node {
    int64_t connection = -1;
    uint64_t process = 0;
    std::string host;
    bool idle = false;
    int64_t exit_code = 0;
    bool told_to_stop = false;
  };
  enum class Phase { gathering, running, finished, failed, over };

  void send(int64_t connection, Message message);
  void answer(std::vector<Answer>& answers);
  void refuse(int64_t connection, Code code, const std::string& text);
  void drop(int64_t connection);

  void admit(int64_t connection, const Connection& as);
  void greet_rank(int64_t connection, const Hello& hello);
  void greet_launcher(int64_t connection, const Hello& hello, int64_t ranks);
  void from_rank(int64_t connection, int rank, const Message& message);
  void from_launcher(int node, const Message& message);
  void leave(const Connection& gone);
  void lost_rank(int rank, const std::string& how);
  void lost_node(int node, const std::string& how);
  void stuck();
  void stalled();
  void fail(Cause cause);
  void late();
  // "ranks 1, 3 of 4"; "" when nobody is waited for.
  std::string awaited() const;
  void remind();
  void decide();
  void begin_attempt(int64_t attempt);
  void end_job(int exit_code, const std::string& text);
  std::string describe(int rank) const;
  static std::string at_work(const Rank& rank);
  std::vector<int> missing() const;

  CoordinatorSettings settings_;
  Phase phase_ = Phase::gathering;
  Time now_, phase_since_, ticked_;
  int64_t first_attempt_;
  bool launched_ = false;
  bool hurried_ = false;  // phase finished: launchers were told not to wait any longer
  Door door_;
  std::map<int64_t, Connection> connections_;  // of members
  std::vector<Rank> ranks_;
  std::vector<Node> nodes_;
  KeyStore store_;
  Meetings meetings_;
  std::optional<Cause> cause_;
  Reminder reminder_;
  std::string turned_away_;  // the last newcomer that was refused, for who waits in vain
  Message stop_;             // phase over: what launchers are told
  std::vector<Action> actions_;
};

}  // namespace sft::control
