// Which worlds there are, what goes wrong in them, and what must hold in the end.
#include "control/simulated_world.h"

namespace sft::simulated {

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

void World::set_up() {
  nodes = static_cast<int>(net.chance(50) ? 1 : net.draw(2, 4));
  per_node = static_cast<int>(net.chance(94) ? net.draw(nodes == 1 ? 2 : 1, 4) : net.draw(4, 16));
  world = nodes * per_node;
  launchers = net.chance(75);
  token = net.chance(50) ? "secret" : "";
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
    only_strangers = only_strangers && fault == Fault::stranger;
    if (fault == Fault::crash_saving) {
      crash_saving_rank = static_cast<int>(net.draw(0, world - 1));
      crash_saving_phase = static_cast<int>(net.draw(0, 2));
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
  CoordinatorSettings s{"job", token,        "coordinator", world,   nodes,
                        0,     max_restarts, kJoin,         kSilence};
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
      strangers();
      break;
    default:
      break;
  }
}

// One connection that says `first`, and answers a challenge by what it `knows`.
void World::stranger(const Message& first, const std::string& knows, int from) {
  if (!host || !host->process()->alive) {
    return;
  }
  const auto process = std::make_shared<Process>();
  process->host = from;
  const auto h = host;
  const auto id = std::make_shared<int64_t>(-1);
  const auto answer = [this, id, first, knows](const Message& m) {
    if (m.type == Type::challenge) {
      net.send(*id, 0,
               {Type::prove, 0, 0, 0, "", proof(Side::member, knows, m.text, encode(first))});
    }
  };
  *id = net.connect({process, answer, [] {}, true, {}, 0},
                    {h->process(),
                     [h, id](const Message& m) { h->received(*id, m); },
                     [h, id] { h->closed(*id); },
                     true,
                     {},
                     0});
  net.after(0, h->process(), [h, id, from] { h->opened(*id, from); });
  net.send(*id, 0, first);
  if (net.chance(50)) {
    net.after(net.draw(0, 6 * kSecond), process, [this, id] { net.close(*id, 0); });
  }
}

void World::strangers() {
  const int64_t how_many = net.chance(20) ? net.draw(300, 700) : net.draw(1, 8);
  for (int64_t i = 0; i < how_many; ++i) {
    const int from = net.chance(50) ? static_cast<int>(net.draw(0, nodes - 1))
                                    : 100 + static_cast<int>(net.draw(0, 300));
    const std::string nonce = token.empty() ? "" : std::string(kNonceBytes, 'n');
    Hello hello{"job", nonce, newest_attempt, 0, world, 1, "elsewhere"};
    Message m{net.chance(70) ? Type::hello : Type::join, 0, 0, per_node, "", ""};
    std::string knows = "guess";
    switch (net.draw(0, 6)) {
      case 0:  // something else altogether
        m.text = "GET / HTTP/1.1";
        break;
      case 1:  // a message of another time
        m.type = static_cast<Type>(net.draw(0, 255));
        m.text = "text";
        break;
      case 2:
        hello.job = "other job";
        m.text = encode(hello);
        break;
      case 3:  // an honest mistake: a larger run, or one of another attempt, with the same secret
        knows = token;
        hello.world = world + 2;
        hello.rank = net.draw(-1, world + 2);
        m.text = encode(hello);
        break;
      case 4:
        knows = token;
        hello.attempt = -1;
        m.type = Type::hello;
        m.text = encode(hello);
        break;
      case 5:  // one who has, or lacks, a secret where the run does otherwise
        hello.nonce = token.empty() ? std::string(kNonceBytes, 'n') : "";
        m.text = encode(hello);
        break;
      default:  // a place's name; without a secret that could take the place before all have come
        hello.rank = net.draw(0, world - 1);
        hello.world = m.type == Type::join ? nodes : world;
        hello.rank = m.type == Type::join ? net.draw(0, nodes - 1) : hello.rank;
        m.text = token.empty() ? "" : encode(hello);
    }
    stranger(m, knows, from);
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
  // Nothing ends a process that has stopped for good, where no launcher of ours kills it.
  const auto stopped = [](const RankPtr& r) {
    return r && r->process_->alive && r->process_->paused_until >= kEnd;
  };
  const bool hangs_on = !launchers && !job_code && std::ranges::any_of(ranks, stopped);
  if (!launchers && !job_code && !hangs_on) {
    wrong("the job has not ended");
  }
  report.succeeded = code == 0;
  if (only_strangers && (code != 0 || report.attempts != 1)) {
    wrong(fmt::format("strangers alone made the job end with {} after {} attempts",
                      code.value_or(-1), report.attempts));
  }
  if (!hangs_on && single_fault && can_succeed && (end_by == kNever || max_restarts > 0) &&
      report.faults <= 1 && code != 0 && max_restarts > 0) {
    wrong(fmt::format("the job could have ended well and ended with {}", code.value_or(-1)));
  }
}

}  // namespace sft::simulated
