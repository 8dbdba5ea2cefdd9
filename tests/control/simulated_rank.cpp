// One rank of a simulated run, and the process of the coordinator.
#include "control/simulated_world.h"

#include "core/error_codes.h"

namespace sft::simulated {

Host::Host(World& world, ProcessPtr process, CoordinatorSettings settings)
    : world_(world),
      process_(std::move(process)),
      coordinator_(std::move(settings), world.net.now()) {}

void Host::opened(int64_t connection, int from) {
  coordinator_.opened(connection, static_cast<uint64_t>(from), world_.net.now());
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
             "",
             attempt_,
             number_,
             world_.world,
             static_cast<uint64_t>(attempt_ * 1000 + number_ + 1),
             fmt::format("host-{}", process_->host)};
  s.token = world_.token;
  s.seed = fmt::format("rank {} of attempt {}", number_, attempt_);
  s.join_timeout = kJoin;
  s.silence = kSilence;
  s.operation_timeout = kOperation;
  s.place = "host-0";
  member_ = std::make_unique<Member>(s, world_.net.now());
  lane_ = &member_->operations().open_lane();
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
    w.net.after(0, host->process(),
                [host, id, from = self->process_->host] { host->opened(*id, from); });
    self->member_->opened(w.net.now());
    self->act();
  });
}

void Rank::ask(Type type, std::string key, std::string text,
               std::function<void(const Message&)> then) {
  on_answer_ = [self = shared_from_this(), then = std::move(then)](const Message& m) {
    if (m.type == Type::problem) {
      const CodeRow* const row = find_row(m.key);
      const Code code = row == nullptr ? Code("X001") : row->code;
      self->member_->fail({self->number_, code, m.text, code.letter() == 'C' ? 2 : 140});
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
    when_saved([this] {
      member_->finish();
      act();
    });
    return;
  }
  phase_ = "computing";
  member_->operations().progress(step_ + 1, world_.net.now());
  if (hangs_) {
    return;
  }
  world_.net.after(world_.net.draw(kMillisecond, 300 * kMillisecond), process_,
                   [self = shared_from_this()] {
                     if (self->ended_ || self->hangs_) {
                       return;
                     }
                     self->phase_ = "exchanging";
                     self->lane_->begin("all-reduce", 1 << 20, self->world_.net.now());
                     self->act();
                     self->world_.arrive(self);
                   });
}

void Rank::exchanged_at() {
  if (ended_ || phase_ != "exchanging") {
    return;
  }
  lane_->end(world_.net.now());
  ++step_;
  // As the trainer does it: the ranks learn in the exchange whether one was told to stop.
  const auto& all = world_.arrived[{attempt_, step_ - 1}];
  stopping_ = std::ranges::any_of(all, [](const RankPtr& r) { return r->stopping_; });
  // The exchange has brought every rank's part to rank 0.
  if (number_ == 0 && step_ % world_.save_every == 0) {
    phase_ = "waiting for the save before";
    when_saved([this] {
      save();
      next_step();
      act();
    });
  } else {
    next_step();
    act();
  }
}

void Rank::when_saved(std::function<void()> then) {
  if (saves_) {
    after_save_ = std::move(then);
  } else {
    then();
  }
}

bool Rank::somebody_dies(int phase) {
  World& w = world_;
  if (w.crash_saving_rank < 0 || phase != w.crash_saving_phase) {
    return false;
  }
  const RankPtr victim = w.ranks[static_cast<size_t>(std::exchange(w.crash_saving_rank, -1))];
  if (!victim->ended_) {
    w.note(fmt::format("rank {} dies while step {} is saved", victim->number_, step_));
    w.faulty(victim, 2 * kSecond, true);
    w.kill_rank(victim, 137);
  }
  return ended_;
}

// As the trainer does it: a thread of rank 0 writes what it has of all ranks and renames it, while
// the steps go on.
void Rank::save() {
  saves_ = true;
  const auto later = [self = shared_from_this()](std::function<void()> then) {
    self->world_.net.after(self->world_.net.draw(kMillisecond, 500 * kMillisecond), self->process_,
                           [self, then = std::move(then)] {
                             if (!self->ended_) {
                               then();
                             }
                           });
  };
  later([this, later, step = step_] {
    if (somebody_dies(0)) {
      return;
    }
    later([this, step] {
      if (somebody_dies(1)) {
        return;
      }
      World& w = world_;
      if (attempt_ != w.newest_attempt || step <= w.visible) {
        w.wrong(
            fmt::format("attempt {} publishes step {} over step {}", attempt_, step, w.visible));
      }
      w.visible = step;
      w.note(fmt::format("step {} is visible", step));
      if (somebody_dies(2)) {
        return;
      }
      saves_ = false;
      if (after_save_) {
        std::exchange(after_save_, nullptr)();
      }
    });
  });
}

void Rank::exit(int code, const std::string& why) {
  if (ended_) {
    return;
  }
  ended_ = true;
  world_.rank_ended(shared_from_this(), code, why);
}

}  // namespace sft::simulated
