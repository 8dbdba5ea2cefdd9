#include "comm/simulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "comm/coordinator.h"
#include "comm/member.h"
#include "comm/node_agent.h"
#include "comm/simulated_net.h"
#include "comm/together.h"

namespace sft {

namespace {

using namespace control;    // NOLINT: the simulation is about nothing else
using namespace simulated;  // NOLINT

constexpr Time kJoin = 60 * kSecond, kSilence = 10 * kSecond, kOperation = 30 * kSecond;
constexpr Time kGrace = 5 * kSecond, kEnd = 3600 * kSecond;

enum class Fault {
  crash,         // a rank dies
  crash_saving,  // a rank dies while it saves
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
  stranger,      // something else speaks to our port
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
  void opened(int64_t connection);
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
  int64_t connection_ = -1;
  bool ended_ = false, hangs_ = false, stopping_ = false;
  int64_t step_ = 0, asked_ = 0;
  std::string phase_ = "joining";
  std::optional<SaveRound> save_;
  std::function<void(const Message&)> on_answer_;
  Time due_ = kNever;

  void act();
  void open(int address);
  void schedule();
  void ask(Type type, std::string key, std::string text, std::function<void(const Message&)> then);
  void started();
  void next_step();
  void exchanged_at();
  void saving();
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
  int64_t steps = 4, save_every = 2, max_restarts = 1, saves_done = 0;
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
  // The disk: parts written of a step by an attempt, and what can be seen.
  std::map<std::pair<int64_t, int64_t>, std::set<int>> parts;
  int64_t visible = 0;
  std::map<int64_t, int64_t> resumed;  // attempt -> step
  std::map<std::pair<int64_t, int64_t>, std::vector<RankPtr>> arrived;
};

Host::Host(World& world, ProcessPtr process, CoordinatorSettings settings)
    : world_(world),
      process_(std::move(process)),
      coordinator_(std::move(settings), world.net.now()) {}

void Host::opened(int64_t connection) {
  coordinator_.opened(connection, world_.net.now());
  act();
}
void Host::received(int64_t connection, const Message& m) {
  coordinator_.received(connection, m, world_.net.now());
  act();
}
void Host::closed(int64_t connection) {
  coordinator_.closed(connection, world_.net.now());
  act();
}

void Host::act() {
  for (Coordinator::Action& a : coordinator_.take_actions()) {
    if (a.message) {
      world_.net.send(a.connection, 1, *a.message);
    } else {
      world_.net.close(a.connection, 1);
    }
  }
  const Time next = std::max(coordinator_.deadline(), world_.net.now() + kMillisecond);
  if (next < due_) {
    due_ = next;
    world_.net.after(next - world_.net.now(), process_, [this] { tick(); });
  }
}

void Host::tick() {
  due_ = kNever;
  coordinator_.tick(world_.net.now());
  act();
}

Rank::Rank(World& world, int number, int64_t attempt, ProcessPtr process)
    : world_(world), number_(number), attempt_(attempt), process_(std::move(process)) {}

void Rank::begin() {
  MemberSettings s;
  s.hello = {"job",
             "token",
             attempt_,
             number_,
             world_.world,
             static_cast<uint64_t>(attempt_ * 1000 + number_ + 1),
             fmt::format("host-{}", process_->host)};
  s.join_timeout = kJoin;
  s.silence = kSilence;
  s.operation_timeout = kOperation;
  s.place = "host-0";
  member_ = std::make_unique<Member>(s, world_.net.now());
  act();
}

void Rank::drop_connection() {
  if (connection_ >= 0) {
    world_.net.close(connection_, 0);
    connection_ = -1;
  }
}

void Rank::act() {
  if (ended_) {
    return;
  }
  for (Member::Action& a : member_->take_actions()) {
    switch (a.kind) {
      case Member::Action::Kind::open:
        open(a.address);
        break;
      case Member::Action::Kind::send:
        world_.net.send(connection_, 0, a.message);
        break;
      case Member::Action::Kind::close:
        drop_connection();
        break;
      case Member::Action::Kind::started:
        started();
        break;
      case Member::Action::Kind::answered:
        if (a.message.a == asked_ && on_answer_) {
          const auto then = std::exchange(on_answer_, nullptr);
          then(a.message);
        }
        break;
      case Member::Action::Kind::failed:
        exit(member_->cause()->exit_code < 128 && member_->cause()->rank != number_
                 ? static_cast<int>(ExitCode::restart)
                 : member_->cause()->exit_code,
             member_->cause()->text);
        return;
      case Member::Action::Kind::released:
        exit(stopping_ ? 143 : 0, "");
        return;
      default:
        break;
    }
    if (ended_) {
      return;
    }
  }
  schedule();
}

void Rank::schedule() {
  const Time next = std::max(member_->deadline(), world_.net.now() + kMillisecond);
  if (next < due_) {
    due_ = next;
    world_.net.after(next - world_.net.now(), process_, [self = shared_from_this()] {
      self->due_ = kNever;
      if (!self->ended_) {
        self->member_->tick(self->world_.net.now());
        self->act();
      }
    });
  }
}

void Rank::open(int) {
  const auto host = world_.host;
  const Time heard = world_.net.reachable(process_->host, 0);
  if (heard > world_.net.now()) {
    return;  // nothing ever answers; the member gives up by itself
  }
  const auto self = shared_from_this();
  world_.net.after(world_.net.delay(), process_, [self, host] {
    World& w = self->world_;
    if (self->ended_ || self->member_->state() != Member::State::opening) {
      return;
    }
    if (!host || !host->process()->alive) {
      self->member_->open_failed(w.net.now(), "connection refused");
      self->act();
      return;
    }
    const auto id = std::make_shared<int64_t>(-1);
    Net::End client{self->process_,
                    [self, id](const Message& m) {
                      if (!self->ended_ && self->connection_ == *id) {
                        self->member_->received(m, self->world_.net.now());
                        self->act();
                      }
                    },
                    [self, id] {
                      if (!self->ended_ && self->connection_ == *id) {
                        self->connection_ = -1;
                        self->member_->closed(self->world_.net.now());
                        self->act();
                      }
                    },
                    true,
                    {},
                    0};
    Net::End server{host->process(),
                    [host, id](const Message& m) { host->received(*id, m); },
                    [host, id] { host->closed(*id); },
                    true,
                    {},
                    0};
    *id = w.net.connect(std::move(client), std::move(server));
    self->connection_ = *id;
    w.net.after(0, host->process(), [host, id] { host->opened(*id); });
    self->member_->opened(w.net.now());
    self->act();
  });
}

void Rank::ask(Type type, std::string key, std::string text,
               std::function<void(const Message&)> then) {
  on_answer_ = [self = shared_from_this(), then = std::move(then)](const Message& m) {
    if (m.type == Type::problem) {
      self->member_->fail({self->number_, m.key, m.text, m.key[0] == 'C' ? 2 : 140});
      return;
    }
    then(m);
  };
  member_->request({type, ++asked_, 100 * kSecond, 0, std::move(key), std::move(text)});
}

void Rank::started() {
  phase_ = "agreeing";
  const bool differs = number_ == world_.mismatch_rank;
  ask(Type::agree, "configuration", encode_facts({{"learning_rate", differs ? "2" : "1"}}),
      [this](const Message&) {
        phase_ = "choosing the checkpoint";
        const auto go = [this](const Message& m) {
          step_ = std::stoll(m.text);
          const auto [at, first] = world_.resumed.try_emplace(attempt_, step_);
          if (at->second != step_) {
            world_.wrong(fmt::format("rank {} resumes at step {}, another of attempt {} at {}",
                                     number_, step_, attempt_, at->second));
          }
          if (step_ != world_.visible && first) {
            world_.wrong(fmt::format("attempt {} resumes at step {}, the newest checkpoint is {}",
                                     attempt_, step_, world_.visible));
          }
          next_step();
        };
        if (number_ == 0) {
          const std::string newest = std::to_string(world_.visible);
          ask(Type::set, "resume", newest,
              [go, newest](const Message&) { go({Type::reply, 0, 0, 0, "", newest}); });
        } else {
          ask(Type::get, "resume", "", go);
        }
      });
}

void Rank::next_step() {
  if (step_ >= world_.steps || stopping_) {
    phase_ = "finishing";
    member_->finish();
    return;
  }
  phase_ = "computing";
  if (hangs_) {
    return;
  }
  world_.net.after(world_.net.draw(kMillisecond, 300 * kMillisecond), process_,
                   [self = shared_from_this()] {
                     if (self->ended_ || self->hangs_) {
                       return;
                     }
                     self->phase_ = "exchanging";
                     self->member_->begin_operation(fmt::format("all_reduce {}", self->step_),
                                                    self->world_.net.now());
                     self->act();
                     self->world_.arrive(self);
                   });
}

void Rank::exchanged_at() {
  if (ended_ || phase_ != "exchanging") {
    return;
  }
  member_->end_operation();
  ++step_;
  // As the trainer does it: the ranks learn in the exchange whether one was told to stop.
  const auto& all = world_.arrived[{attempt_, step_ - 1}];
  stopping_ = std::ranges::any_of(all, [](const RankPtr& r) { return r->stopping_; });
  if (step_ % world_.save_every == 0) {
    save_.emplace(number_, step_);
    saving();
  } else {
    next_step();
  }
  act();
}

void Rank::saving() {
  const SaveRound::Do what = save_->next();
  const auto dies = [this](int phase) {
    if (number_ == world_.crash_saving_rank && phase == world_.crash_saving_phase) {
      world_.crash_saving_rank = -1;
      world_.note(fmt::format("rank {} dies while saving step {}", number_, step_));
      const auto self = shared_from_this();
      world_.faulty(self, 2 * kSecond, true);
      world_.kill_rank(self, 137);
      return true;
    }
    return false;
  };
  if (what == SaveRound::Do::done) {
    save_.reset();
    next_step();
    return;
  }
  if (what == SaveRound::Do::wait) {
    phase_ = "waiting for " + save_->barrier();
    member_->begin_operation(save_->barrier(), world_.net.now());
    ask(Type::barrier, save_->barrier(), "", [this](const Message&) {
      member_->end_operation();
      saving();
    });
    return;
  }
  const bool publish = what == SaveRound::Do::publish;
  phase_ = publish ? "publishing" : "writing";
  world_.net.after(world_.net.draw(kMillisecond, 500 * kMillisecond), process_,
                   [self = shared_from_this(), publish, dies] {
                     World& w = self->world_;
                     if (self->ended_ || dies(publish ? 1 : 0)) {
                       return;
                     }
                     auto& parts = w.parts[{self->attempt_, self->step_}];
                     if (!publish) {
                       parts.insert(self->number_);
                     } else {
                       if (parts.size() != static_cast<size_t>(w.world)) {
                         w.wrong(fmt::format("step {} became visible with {} of {} parts",
                                             self->step_, parts.size(), w.world));
                       }
                       if (self->attempt_ != w.newest_attempt || self->step_ <= w.visible) {
                         w.wrong(fmt::format("attempt {} publishes step {} over step {}",
                                             self->attempt_, self->step_, w.visible));
                       }
                       w.visible = self->step_;
                       w.note(fmt::format("step {} is visible", self->step_));
                       if (dies(2)) {
                         return;
                       }
                     }
                     self->saving();
                     self->act();
                   });
}

void Rank::exit(int code, const std::string& why) {
  if (ended_) {
    return;
  }
  ended_ = true;
  world_.rank_ended(shared_from_this(), code, why);
}

// The data plane: all ranks' work is exchanged once all have come. Like the real ones, it waits for
// ever when a rank is not there.
void World::arrive(const RankPtr& rank) {
  auto& all = arrived[{rank->attempt_, rank->step_}];
  all.push_back(rank);
  if (all.size() < static_cast<size_t>(world)) {
    return;
  }
  if (rank->step_ == stall_step) {
    note(fmt::format("the collective of step {} stalls", stall_step));
    stall_step = -1;
    faulty(nullptr, kOperation + kSilence, true);
    return;
  }
  Time heard = net.now();
  for (const RankPtr& r : all) {
    heard = std::max(heard, net.reachable(r->process_->host, all[0]->process_->host));
  }
  if (std::ranges::any_of(all, [](const RankPtr& r) { return r->ended_; })) {
    return;
  }
  for (const RankPtr& r : all) {
    net.after(heard - net.now() + net.delay(), r->process_, [r] { r->exchanged(); });
  }
}

std::vector<RankPtr> World::living() const {
  std::vector<RankPtr> out;
  std::ranges::copy_if(ranks, std::back_inserter(out),
                       [](const RankPtr& r) { return r && !r->ended_ && r->process_->alive; });
  return out;
}

RankPtr World::any_rank() {
  const auto all = living();
  return all.empty() ? nullptr : all[static_cast<size_t>(net.draw(0, std::ssize(all) - 1))];
}

// A fault that must end the attempt: within `bound` where it is the only one.
void World::faulty(const RankPtr& rank, Time bound, bool recovers) {
  can_succeed = can_succeed && recovers;
  if (end_by == kNever) {
    end_by = net.now() + bound + kGrace + 3 * kSecond;
    end_attempt = newest_attempt;
    at_fault = rank ? rank->number_ : -1;
    if (single_fault) {
      net.world_after(end_by - net.now(), [this] { check_bound(); });
    }
  }
}

void World::check_bound() {
  for (const RankPtr& r : ranks) {
    if (r && r->attempt_ == end_attempt && !r->ended_ && r->process_->alive) {
      wrong(fmt::format("rank {} of attempt {} still lives ({}) after its bound", r->number_,
                        end_attempt, r->phase_));
    }
  }
}

void World::kill_rank(const RankPtr& rank, int status) {
  if (rank->ended_) {
    return;
  }
  rank->ended_ = true;
  rank_ended(rank, status, "killed");
}

void World::rank_ended(const RankPtr& rank, int code, const std::string& why) {
  note(fmt::format("rank {} of attempt {} ends with {} ({}){}{}", rank->number_, rank->attempt_,
                   code, rank->phase_, why.empty() ? "" : ": ", why));
  if (code != 0 && code != 143 && why.empty()) {
    wrong(fmt::format("rank {} ends with {} and gives no cause", rank->number_, code));
  }
  if (code == 140 && single_fault && at_fault >= 0 && rank->number_ != at_fault &&
      rank->attempt_ == end_attempt && at_fault != 0 &&
      why.find(fmt::format("rank {} ", at_fault)) == std::string::npos) {
    wrong(fmt::format("rank {} does not name rank {}: {}", rank->number_, at_fault, why));
  }
  if (code == 0 && rank->step_ < steps) {
    wrong(fmt::format("rank {} ends well at step {} of {}", rank->number_, rank->step_, steps));
  }
  // Rank 0 with the coordinator inside stays until the others have left.
  if (!launchers && rank->number_ == 0 && why != "killed") {
    net.after(2 * kSecond, rank->process_, [this, rank] { net.kill(rank->process_); });
  } else {
    net.kill(rank->process_);
  }
  const int index = rank->number_ / per_node;
  if (launchers) {
    Node& n = node[static_cast<size_t>(index)];
    net.after(net.draw(1, 5) * kMillisecond, n.process, [this, index, rank, code] {
      Node& owner = node[static_cast<size_t>(index)];
      if (!owner.left) {
        owner.agent->rank_ended(rank->number_ % per_node, code, net.now());
        node_act(index);
      }
    });
    return;
  }
  // torchrun: ends all when one has failed, and starts them anew.
  if (rank->attempt_ != newest_attempt) {
    return;
  }
  const int64_t attempt = rank->attempt_;
  if (code != 0) {
    net.world_after(kGrace, [this, attempt] {
      for (const RankPtr& r : ranks) {
        if (r->attempt_ == attempt) {
          kill_rank(r, 137);
          net.kill(r->process_);
        }
      }
    });
  }
  if (std::ranges::all_of(ranks, [](const RankPtr& r) { return r->ended_; })) {
    net.world_after(3 * kSecond, [this, attempt, code] {
      if (attempt != newest_attempt) {
        return;
      }
      const bool well = code == 0;
      if (!well && attempt < max_restarts) {
        start_attempt_without_launchers(attempt + 1);
      } else {
        job_code = code;
      }
    });
  }
}

void World::start_ranks(int index, int64_t attempt) {
  if (attempt > newest_attempt) {
    newest_attempt = attempt;
    ++report.attempts;
    ranks.resize(static_cast<size_t>(world));
  }
  for (int i = 0; i < per_node; ++i) {
    const int number = index * per_node + i;
    auto process = std::make_shared<Process>();
    process->host = index;
    const auto rank = std::make_shared<Rank>(*this, number, attempt, process);
    if (ranks[static_cast<size_t>(number)] && !ranks[static_cast<size_t>(number)]->ended_) {
      wrong(fmt::format("rank {} of attempt {} still lives when attempt {} begins", number,
                        ranks[static_cast<size_t>(number)]->attempt_, attempt));
    }
    ranks[static_cast<size_t>(number)] = rank;
    net.after(net.draw(kMillisecond, kSecond), process, [rank] {
      if (!rank->ended_) {
        rank->begin();
      }
    });
  }
}

void World::start_attempt_without_launchers(int64_t attempt) {
  note(fmt::format("attempt {} begins", attempt));
  for (int i = 0; i < nodes; ++i) {
    start_ranks(i, attempt);
  }
  CoordinatorSettings s{"job", "token", world, 0, attempt, 0, kJoin, kSilence};
  host = std::make_shared<Host>(*this, ranks[0]->process_, s);
}

void World::node_open(int index) {
  Node& n = node[static_cast<size_t>(index)];
  if (net.reachable(index, 0) > net.now()) {
    return;
  }
  net.after(net.delay(), n.process, [this, index] {
    Node& me = node[static_cast<size_t>(index)];
    if (me.left || me.agent->member().state() != Member::State::opening) {
      return;
    }
    if (!host || !host->process()->alive) {
      me.agent->member().open_failed(net.now(), "connection refused");
    } else {
      const auto id = std::make_shared<int64_t>(-1);
      const auto mine = [this, index, id] {
        return !node[static_cast<size_t>(index)].left &&
               node[static_cast<size_t>(index)].connection == *id;
      };
      Net::End client{me.process,
                      [this, index, mine](const Message& m) {
                        if (mine()) {
                          node[static_cast<size_t>(index)].agent->member().received(m, net.now());
                          node_act(index);
                        }
                      },
                      [this, index, mine] {
                        if (mine()) {
                          node[static_cast<size_t>(index)].connection = -1;
                          node[static_cast<size_t>(index)].agent->member().closed(net.now());
                          node_act(index);
                        }
                      },
                      true,
                      {},
                      0};
      const auto h = host;
      Net::End server{h->process(),
                      [h, id](const Message& m) { h->received(*id, m); },
                      [h, id] { h->closed(*id); },
                      true,
                      {},
                      0};
      *id = net.connect(std::move(client), std::move(server));
      me.connection = *id;
      net.after(0, h->process(), [h, id] { h->opened(*id); });
      me.agent->member().opened(net.now());
    }
    node_act(index);
  });
}

void World::node_act(int index) {
  Node& n = node[static_cast<size_t>(index)];
  n.agent->pump(net.now());
  for (NodeAgent::Action& a : n.agent->take_actions()) {
    switch (a.kind) {
      case NodeAgent::Action::Kind::open:
        node_open(index);
        break;
      case NodeAgent::Action::Kind::send:
        net.send(n.connection, 0, a.message);
        break;
      case NodeAgent::Action::Kind::close:
        if (n.connection >= 0) {
          net.close(n.connection, 0);
          n.connection = -1;
        }
        break;
      case NodeAgent::Action::Kind::start:
        note(fmt::format("node {} starts attempt {}", index, a.attempt));
        start_ranks(index, a.attempt);
        break;
      case NodeAgent::Action::Kind::signal:
      case NodeAgent::Action::Kind::kill:
        for (int i = 0; i < per_node; ++i) {
          const RankPtr r = ranks[static_cast<size_t>(index * per_node + i)];
          if (r && a.kind == NodeAgent::Action::Kind::kill) {
            kill_rank(r, 137);
          } else if (r) {
            r->stopping_ = true;
          }
        }
        break;
      case NodeAgent::Action::Kind::say:
        note(fmt::format("node {} says: {}", index, a.text));
        break;
      case NodeAgent::Action::Kind::leave:
        note(fmt::format("node {} leaves with {}: {}", index, a.number, a.text));
        n.left = a.number;
        n.why = a.text;
        if (index == 0) {
          // Lingers until the others know.
          net.after(kSilence, n.process, [this] { net.kill(node[0].process); });
        } else {
          net.kill(n.process);
        }
        break;
    }
  }
  if (n.left) {
    return;
  }
  const Time next = std::max(n.agent->deadline(), net.now() + kMillisecond);
  if (next < n.due) {
    n.due = next;
    net.after(next - net.now(), n.process, [this, index] { node_tick(index); });
  }
}

void World::node_tick(int index) {
  Node& n = node[static_cast<size_t>(index)];
  n.due = kNever;
  if (!n.left) {
    n.agent->tick(net.now());
    node_act(index);
  }
}

void World::start_node(int index) {
  Node& n = node[static_cast<size_t>(index)];
  AgentSettings s;
  s.member.hello = {"job",
                    "token",
                    0,
                    index,
                    nodes,
                    static_cast<uint64_t>(index) + 7,
                    fmt::format("host-{}", index)};
  s.member.ranks_here = per_node;
  s.member.join_timeout = kJoin;
  s.member.silence = kSilence;
  s.member.place = "host-0";
  s.ranks = per_node;
  s.first_rank = index * per_node;
  s.grace = kGrace;
  n.agent = std::make_unique<NodeAgent>(s, net.now());
  node_act(index);
}

void World::set_up() {
  nodes = static_cast<int>(net.chance(50) ? 1 : net.draw(2, 4));
  per_node = static_cast<int>(net.chance(94) ? net.draw(nodes == 1 ? 2 : 1, 4) : net.draw(4, 16));
  world = nodes * per_node;
  launchers = net.chance(75);
  steps = net.draw(2, 8);
  save_every = net.draw(1, 3);
  max_restarts = net.draw(0, 3);
  report.ranks = world;
  ranks.resize(static_cast<size_t>(world));
  const int64_t faults = net.chance(10) ? 0 : net.chance(55) ? 1 : net.draw(2, 5);
  single_fault = faults <= 1;
  report.faults = static_cast<int>(faults);
  for (int64_t i = 0; i < faults; ++i) {
    const auto fault = static_cast<Fault>(net.draw(0, static_cast<int64_t>(Fault::count) - 1));
    if (fault == Fault::crash_saving) {
      crash_saving_rank = static_cast<int>(net.draw(0, world - 1));
      crash_saving_phase = static_cast<int>(crash_saving_rank == 0 ? net.draw(0, 2) : 0);
    } else if (fault == Fault::mismatch) {
      mismatch_rank = static_cast<int>(net.draw(0, world - 1));
      can_succeed = false;
    } else if (fault == Fault::stall) {
      stall_step = net.draw(0, steps - 1);
    } else {
      net.world_after(net.draw(0, 5 * kSecond), [this, fault] { inject(fault); });
    }
  }
  if (!launchers) {
    start_attempt_without_launchers(0);
    return;
  }
  node.resize(static_cast<size_t>(nodes));
  for (int i = 0; i < nodes; ++i) {
    node[static_cast<size_t>(i)].process = std::make_shared<Process>();
    node[static_cast<size_t>(i)].process->host = i;
  }
  CoordinatorSettings s{"job", "token", world, nodes, 0, max_restarts, kJoin, kSilence};
  host = std::make_shared<Host>(*this, node[0].process, s);
  for (int i = 0; i < nodes; ++i) {
    net.after(i == 0 ? 0 : net.draw(0, 5 * kSecond), node[static_cast<size_t>(i)].process,
              [this, i] { start_node(i); });
  }
}

void World::inject(Fault fault) {
  const RankPtr rank = any_rank();
  const int index = static_cast<int>(net.draw(0, nodes - 1));
  const Time length = net.chance(30)   ? kNever
                      : net.chance(50) ? net.draw(1, kSilence / 2)
                                       : net.draw(kSilence, 5 * kSilence);
  note(fmt::format("fault: {} (rank {}, node {}, {:.1f} s)",
                   kFaultNames[static_cast<size_t>(fault)], rank ? rank->number_ : -1, index,
                   static_cast<double>(std::min(length, kEnd)) / 1e6));
  const bool gathers = rank && (!rank->member_ || rank->phase_ == "joining");
  const bool ends = rank && rank->phase_ == "finishing";
  // Before all have come, a lost rank is waited for; after its last word, it is not missed.
  const Time wait = gathers ? kJoin : 0;
  switch (fault) {
    case Fault::crash:
      if (rank) {
        if (!ends) {
          faulty(rank, 2 * kSecond + wait, true);
          at_fault = gathers ? -1 : at_fault;
        } else {
          single_fault = false;
        }
        kill_rank(rank, 137);
      }
      break;
    case Fault::crash_node:
      if (launchers) {
        Node& n = node[static_cast<size_t>(index)];
        can_succeed = false;
        if (!n.left) {
          n.left = -1;
          net.kill(n.process);
          for (int i = 0; i < per_node; ++i) {
            const RankPtr r = ranks[static_cast<size_t>(index * per_node + i)];
            if (r && !r->ended_) {
              r->ended_ = true;
              net.kill(r->process_);
            }
          }
        }
      }
      break;
    case Fault::pause:
      if (rank) {
        if (length >= kSilence && !ends) {
          faulty(rank, kSilence + 2 * kSecond + wait, true);
          at_fault = gathers ? -1 : at_fault;
        }
        if (!launchers && rank->number_ == 0 && ends) {
          single_fault = false;
        }
        net.pause(rank->process_, net.now() + std::min(length, kNever - net.now()));
      }
      break;
    case Fault::pause_node:
      if (launchers) {
        const Time pause = std::min<Time>(length, 3 * kSilence);
        net.pause(node[static_cast<size_t>(index)].process, net.now() + pause);
        single_fault = single_fault && pause < kSilence / 2;
        can_succeed = can_succeed && (pause < kSilence / 2 || max_restarts > 0);
      }
      break;
    case Fault::hang:
      if (rank && !ends && !gathers) {
        faulty(rank, kOperation + kSilence + kSecond, true);
        at_fault = -1;  // it may have done its part of the last step
        rank->hangs_ = true;
        end_by = kNever;
      }
      break;
    case Fault::reset: {
      const auto all = net.connections();
      if (!all.empty()) {
        single_fault = single_fault && !ends;
        net.reset(all[static_cast<size_t>(net.draw(0, std::ssize(all) - 1))]);
      }
      break;
    }
    case Fault::partition:
      if (nodes > 1) {
        const Time cut = std::min<Time>(length, kEnd);
        single_fault = single_fault && cut < kSilence / 2;
        can_succeed = can_succeed && cut < kJoin / 2;
        net.cut(index, net.now() + cut);
      }
      break;
    case Fault::error:
      if (rank && rank->member_ && !ends) {
        faulty(rank, 2 * kSecond + wait, false);
        at_fault = gathers ? -1 : at_fault;
        rank->member_->fail({rank->number_, "D012", "row 7 has no text", 3});
        rank->act();
      }
      break;
    case Fault::stop:
      if (launchers && !node[static_cast<size_t>(index)].left) {
        can_succeed = false;
        net.after(0, node[static_cast<size_t>(index)].process, [this, index] {
          if (node[static_cast<size_t>(index)].agent && !node[static_cast<size_t>(index)].left) {
            node[static_cast<size_t>(index)].agent->signalled(15, true, net.now());
            node_act(index);
          }
        });
      }
      break;
    case Fault::stranger:
      if (host && host->process()->alive) {
        const auto process = std::make_shared<Process>();
        const auto h = host;
        const auto id = std::make_shared<int64_t>(-1);
        *id = net.connect({process, [](const Message&) {}, [] {}, true, {}, 0},
                          {h->process(),
                           [h, id](const Message& m) { h->received(*id, m); },
                           [h, id] { h->closed(*id); },
                           true,
                           {},
                           0});
        net.after(0, h->process(), [h, id] { h->opened(*id); });
        Message m{Type::hello, 0, 0, 0, "", "GET / HTTP/1.1"};
        const int64_t kind = net.draw(0, 3);
        if (kind == 1) {
          m.text = encode(Hello{"other job", "token", 0, 0, world, 1, "elsewhere"});
        } else if (kind == 2) {
          m.text = encode(Hello{"job", "guess", 0, 0, world, 1, "elsewhere"});
        } else if (kind == 3) {
          m.text = encode(Hello{"job", "token", -1, 0, world, 1, "a stale attempt"});
        }
        net.send(*id, 0, m);
      }
      break;
    default:
      break;
  }
}

void World::check_end() {
  for (const RankPtr& r : ranks) {
    if (r && !r->ended_ && r->process_->alive && r->process_->paused_until < kEnd) {
      wrong(fmt::format("rank {} of attempt {} waits for ever ({})", r->number_, r->attempt_,
                        r->phase_));
    }
  }
  std::optional<int> code = job_code;
  for (size_t i = 0; i < node.size(); ++i) {
    if (!node[i].left && node[i].process->paused_until < kEnd) {
      wrong(fmt::format("the launcher of node {} waits for ever", i));
    } else if (node[i].left && *node[i].left >= 0) {
      code = code ? std::max(*code, *node[i].left) : *node[i].left;
      if (*node[i].left != 0 && *node[i].left != 143 && node[i].why.empty()) {
        wrong(fmt::format("the launcher of node {} leaves with {} and gives no cause", i,
                          *node[i].left));
      }
    }
  }
  if (!launchers && !job_code) {
    wrong("the job has not ended");
  }
  report.succeeded = code == 0;
  if (single_fault && can_succeed && (end_by == kNever || max_restarts > 0) && report.faults <= 1 &&
      code != 0 && max_restarts > 0) {
    wrong(fmt::format("the job could have ended well and ended with {}", code.value_or(-1)));
  }
}

SimulationReport World::run() {
  set_up();
  while (report.wrong.empty() && net.step(kEnd)) {
    if (net.events() > 20'000'000) {
      wrong("the simulation does not come to an end");
    }
  }
  if (report.wrong.empty()) {
    check_end();
  }
  report.events = net.events();
  report.hash = net.hash();
  return report;
}

}  // namespace

SimulationReport simulate(uint64_t seed, bool tell) {
  const auto world = std::make_shared<World>(seed, tell);
  SimulationReport report = world->run();
  for (const RankPtr& r : world->ranks) {
    if (r) {
      r->on_answer_ = nullptr;  // it holds the rank itself
    }
  }
  world->arrived.clear();
  return report;
}

}  // namespace sft
