// The simulated world: ranks, launchers, the coordinator's process, faults, and what must hold.
// Used by the parts of the simulation only.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "control/coordinator.h"
#include "control/member.h"
#include "control/node_agent.h"
#include "control/secret.h"
#include "control/simulated_net.h"
#include "control/simulation.h"

namespace sft::simulated {

using namespace control;  // NOLINT: the simulation is about nothing else

constexpr Time kJoin = 60 * kSecond, kSilence = 10 * kSecond, kOperation = 30 * kSecond;
constexpr Time kGrace = 5 * kSecond, kEnd = 3600 * kSecond;

enum class Fault {
  crash,         // a rank dies
  crash_saving,  // a rank dies while rank 0 saves
  crash_node,    // a launcher and its ranks die
  pause,         // a rank stops, for a while or for ever
  pause_node,    // a launcher stops for a while
  hang,          // a rank computes for ever
  stall,         // one collective never ends anywhere
  reset,         // a connection breaks
  partition,     // a host is cut off
  error,         // a rank ends with an error of its own
  mismatch,      // a rank has another configuration
  stop,          // the scheduler sends SIGTERM to a launcher
  stranger,      // others speak to our port: by mistake, or to do harm
  count
};
constexpr std::array kFaultNames = {"crash",
                                    "crash while saving",
                                    "node crash",
                                    "pause",
                                    "launcher pause",
                                    "hang",
                                    "stalled collective",
                                    "reset",
                                    "partition",
                                    "error",
                                    "mismatch",
                                    "stop",
                                    "stranger"};
static_assert(kFaultNames.size() == static_cast<size_t>(Fault::count));

class World;

// The coordinator in a process of its own or in rank 0's.
class Host {
 public:
  Host(World& world, ProcessPtr process, CoordinatorSettings settings);
  void received(int64_t connection, const Message& m);
  void closed(int64_t connection);
  void opened(int64_t connection, int from);
  Coordinator& coordinator() { return coordinator_; }
  const ProcessPtr& process() const { return process_; }

 private:
  void act();
  void tick();
  World& world_;
  ProcessPtr process_;
  Coordinator coordinator_;
  Time due_ = kNever;
};

// One rank of one attempt: the steps of a training run, told to the control plane.
class Rank : public std::enable_shared_from_this<Rank> {
 public:
  Rank(World& world, int number, int64_t attempt, ProcessPtr process);
  void begin();
  void exit(int code, const std::string& why);
  void exchanged() { exchanged_at(); }

  World& world_;
  int number_;
  int64_t attempt_;
  ProcessPtr process_;
  std::unique_ptr<Member> member_;
  OperationLane* lane_ = nullptr;
  int64_t connection_ = -1;
  bool ended_ = false, hangs_ = false, stopping_ = false;
  int64_t step_ = 0, asked_ = 0;
  std::string phase_ = "joining";
  bool saves_ = false;                // rank 0: a checkpoint is being written
  std::function<void()> after_save_;  // what waits for it
  std::function<void(const Message&)> on_answer_;
  Time due_ = kNever;

  void act();
  void open(int address);
  void schedule();
  void ask(Type type, std::string key, std::string text, std::function<void(const Message&)> then);
  void started();
  void next_step();
  void exchanged_at();
  void save();
  void when_saved(std::function<void()> then);
  // The fault of a save, where this is its moment; whether this rank has ended with it.
  bool somebody_dies(int phase);
  void drop_connection();
};
using RankPtr = std::shared_ptr<Rank>;

struct Node {
  ProcessPtr process;
  std::unique_ptr<NodeAgent> agent;
  int64_t connection = -1;
  Time due = kNever;
  std::optional<int> left;
  std::string why;
};

class World {
 public:
  World(uint64_t seed, bool tell) : net(seed), tell_(tell) {}
  SimulationReport run();

  void note(const std::string& text) {
    if (tell_) {
      report.story += fmt::format("{:10.3f} s  {}\n", static_cast<double>(net.now()) / 1e6, text);
    }
  }
  void wrong(const std::string& text) {
    if (report.wrong.empty()) {
      report.wrong = text;
      note("WRONG: " + text);
    }
  }
  void set_up();
  void start_node(int node);
  void node_act(int node);
  void node_open(int node);
  void node_tick(int node);
  void start_ranks(int node, int64_t attempt);
  void start_attempt_without_launchers(int64_t attempt);
  void rank_ended(const RankPtr& rank, int code, const std::string& why);
  void kill_rank(const RankPtr& rank, int status);
  void inject(Fault fault);
  void strangers();
  void stranger(const Message& first, const std::string& knows, int from);
  void arrive(const RankPtr& rank);
  void check_end();
  void check_bound();
  std::vector<RankPtr> living() const;
  RankPtr any_rank();
  void faulty(const RankPtr& rank, Time bound, bool recovers);

  Net net;
  bool tell_;
  SimulationReport report;
  int world = 2, nodes = 1, per_node = 2;
  bool launchers = true;
  std::string token;           // "": the run has no secret
  bool only_strangers = true;  // nothing else goes wrong
  int64_t steps = 4, save_every = 2, max_restarts = 1;
  std::shared_ptr<Host> host;
  std::vector<Node> node;
  std::vector<RankPtr> ranks;  // of the newest attempt
  int64_t newest_attempt = -1;
  bool single_fault = true, recoverable = true, can_succeed = true, finished = false;
  std::optional<int> job_code;
  // What the faults wait for.
  int crash_saving_rank = -1, crash_saving_phase = 0, mismatch_rank = -1;
  int64_t stall_step = -1;
  // The one fault of a single-fault world: all ranks of its attempt must have ended by then.
  Time end_by = kNever;
  int64_t end_attempt = -1;
  int at_fault = -1;
  int64_t visible = 0;                 // the newest checkpoint on the disk
  std::map<int64_t, int64_t> resumed;  // attempt -> step
  std::map<std::pair<int64_t, int64_t>, std::vector<RankPtr>> arrived;
};

}  // namespace sft::simulated
