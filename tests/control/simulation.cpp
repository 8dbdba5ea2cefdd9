// The simulated launchers, and the world's course.
#include "control/simulated_world.h"

namespace sft::simulated {

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
    if (const RankPtr& old = ranks[static_cast<size_t>(number)]) {
      old->on_answer_ = nullptr;  // it holds the rank itself
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
  CoordinatorSettings s{"job", token, "coordinator", world, 0, attempt, 0, kJoin, kSilence};
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
      net.after(0, h->process(), [h, id, index] { h->opened(*id, index); });
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
      case NodeAgent::Action::Kind::waits:
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
  s.member.hello = {
      "job", "", 0, index, nodes, static_cast<uint64_t>(index) + 7, fmt::format("host-{}", index)};
  s.member.token = token;
  s.member.seed = fmt::format("node {}", index);
  s.member.ranks_here = per_node;
  s.member.join_timeout = kJoin;
  s.member.silence = kSilence;
  s.member.place = "host-0";
  s.ranks = per_node;
  s.first_rank = index * per_node;
  s.grace = kGrace;
  s.max_restarts = max_restarts;
  n.agent = std::make_unique<NodeAgent>(s, net.now());
  node_act(index);
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

}  // namespace sft::simulated

namespace sft {

SimulationReport simulate(uint64_t seed, bool tell) {
  const auto world = std::make_shared<simulated::World>(seed, tell);
  SimulationReport report = world->run();
  for (const simulated::RankPtr& r : world->ranks) {
    if (r) {
      r->on_answer_ = nullptr;  // it holds the rank itself
      r->after_save_ = nullptr;
    }
  }
  world->arrived.clear();
  return report;
}

}  // namespace sft
