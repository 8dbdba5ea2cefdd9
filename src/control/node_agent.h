// A node's launcher as a state machine: it starts this node's ranks when the coordinator says so,
// reports how they end, ends them when the run has failed, and starts them anew. Used by `sft
// launch`, which owns the processes, and by the simulation.
#pragma once

#include <string>
#include <vector>

#include "control/member.h"

namespace sft::control {

struct AgentSettings {
  MemberSettings member;  // hello.rank and world count nodes
  int ranks = 1;
  int first_rank = 0;
  int64_t max_restarts = 0;
  Time grace = 5 * kSecond;  // for ranks to end by themselves once the run has failed
};

class NodeAgent {
 public:
  struct Action {
    enum class Kind {
      open,  // these three as Member's
      send,
      close,
      start,   // all ranks of `attempt`
      signal,  // `number` to all ranks that live
      kill,    // all ranks that live
      say,     // `text`, once, to the user: why the attempt ended
      waits,   // `text`, now: what is waited for
      leave,   // the launcher's work is done; `number` is its exit code, `text` the reason or ""
    };
    Kind kind;
    Message message;
    int64_t attempt = 0;
    int number = 0;  // open: which address
    bool restart = false;
    std::string text;
  };

  NodeAgent(AgentSettings settings, Time now);
  Member& member() { return member_; }  // for the connection's events; call `pump` after
  // Takes what the member wants done into this agent's own actions.
  void pump(Time now);
  // A rank has ended. `status` as a shell gives it: 128 + signal for a death by signal.
  void rank_ended(int local_rank, int status, Time now);
  // From outside: SIGTERM, SIGINT, SIGHUP (stop) or another that is only passed on.
  void signalled(int signal, bool stop, Time now);
  void tick(Time now);
  Time deadline() const;
  std::vector<Action> take_actions() { return std::exchange(actions_, {}); }

 private:
  void order(const Message& message, Time now);
  void nobody_left(Time now);
  void end_ranks(Time now);
  void act(Action action) { actions_.push_back(std::move(action)); }
  void leave(int code, std::string text);

  AgentSettings settings_;
  Member member_;
  int alive_ = 0;
  int64_t attempt_ = -1;
  int exit_code_ = 0;
  int stop_signal_ = 0;
  bool over_ = false, lost_ = false, said_ = false;
  Time kill_at_ = INT64_MAX;
  std::vector<Action> actions_;
};

// "exit code 3", "signal 9 (SIGKILL; out of memory, or killed by hand)".
std::string describe_status(int status);

}  // namespace sft::control
