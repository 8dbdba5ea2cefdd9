#include "control/coordinator.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "control/codes.h"

namespace sft::control {

Coordinator::Coordinator(CoordinatorSettings settings, Time now)
    : settings_(std::move(settings)),
      now_(now),
      phase_since_(now),
      ticked_(now),
      first_attempt_(settings_.attempt),
      door_({settings_.job, settings_.token, settings_.seed, settings_.greeting,
             settings_.max_strangers, std::max<size_t>(settings_.max_strangers / 4, 1)}),
      ranks_(static_cast<size_t>(settings_.world)),
      nodes_(static_cast<size_t>(settings_.nodes)),
      meetings_(settings_.world),
      reminder_(now) {
  SFT_ASSERT(settings_.world >= 1 && settings_.nodes >= 0);
}

std::vector<Coordinator::Action> Coordinator::take_actions() { return std::exchange(actions_, {}); }

void Coordinator::send(int64_t connection, Message message) {
  if (connection >= 0) {
    actions_.push_back({connection, std::move(message)});
  }
}

void Coordinator::answer(std::vector<Answer>& answers) {
  for (Answer& a : answers) {
    send(a.client, std::move(a.message));
  }
  answers.clear();
}

void Coordinator::refuse(int64_t connection, Code code, const std::string& text) {
  turned_away_ = text;
  send(connection, because_of(code, text, Type::refused));
  drop(connection);
}

void Coordinator::drop(int64_t connection) {
  const bool known = connections_.erase(connection) != 0;
  if (door_.left(connection) || known) {
    store_.forget(connection);
    actions_.push_back({connection, std::nullopt});
  }
}

bool Coordinator::idle() const {
  return (phase_ == Phase::finished || phase_ == Phase::failed || phase_ == Phase::over) &&
         connections_.empty();
}

void Coordinator::opened(int64_t connection, uint64_t address, Time now) {
  now_ = now;
  if (const int64_t other = door_.opened(connection, address, now); other >= 0) {
    drop(other);
  }
}

void Coordinator::received(int64_t connection, const Message& message, Time now) {
  now_ = now;
  if (door_.holds(connection)) {
    Door::Answer answer = door_.heard(connection, message);
    if (answer.say) {
      turned_away_ = answer.say->type == Type::refused ? answer.say->text : turned_away_;
      send(connection, std::move(*answer.say));
    }
    if (answer.close) {
      drop(connection);
    } else if (answer.guest && answer.guest->launcher) {
      greet_launcher(connection, answer.guest->hello, answer.guest->ranks);
    } else if (answer.guest) {
      greet_rank(connection, answer.guest->hello);
    }
    return;
  }
  const auto found = connections_.find(connection);
  if (found == connections_.end()) {
    return;  // it was dropped while this was under way
  }
  Connection& c = found->second;
  c.heard = now;
  if (c.kind == Connection::Kind::rank) {
    from_rank(connection, c.number, message);
  } else {
    from_launcher(c.number, message);
  }
}

void Coordinator::from_rank(int64_t connection, int number, const Message& m) {
  Rank& rank = ranks_[static_cast<size_t>(number)];
  std::vector<Answer> answers;
  switch (m.type) {
    case Type::beat:
    case Type::stuck:
      rank.operation = m.a;
      rank.busy = m.b != 0;
      rank.at_it_for = m.c;
      rank.name = m.text.substr(0, 200);
      rank.stalls = m.type == Type::stuck && !rank.busy;
      send(connection, {Type::beat, 0, 0, 0, "", ""});
      if (rank.stalls && phase_ == Phase::running) {
        stalled();
      } else if (m.type == Type::stuck && phase_ == Phase::running) {
        stuck();
      }
      break;
    case Type::failed:
      fail({number, kRankStopped,
            fmt::format("rank {} on {} stopped: {} {}", number, rank.host, m.key.substr(0, 20),
                        m.text.substr(0, 2000)),
            static_cast<int>(std::clamp<int64_t>(m.a, 1, 255))});
      break;
    case Type::bye:
      rank.done = true;
      if (phase_ == Phase::running &&
          std::ranges::all_of(ranks_, [](const Rank& r) { return r.done; })) {
        phase_ = Phase::finished;
        phase_since_ = now_;
        for (const Rank& r : ranks_) {
          send(r.connection, {Type::released, 0, 0, 0, "", ""});
        }
      }
      break;
    case Type::set:
    case Type::get:
    case Type::add:
    case Type::compare:
      store_.request(connection, m, now_, answers);
      break;
    case Type::barrier:
    case Type::agree:
      meetings_.request(connection, number, m, now_, answers);
      break;
    default:
      lost_rank(number, "was dropped: it sent a message without sense");
      drop(connection);
  }
  answer(answers);
}

std::string Coordinator::describe(int number) const {
  const Rank& rank = ranks_[static_cast<size_t>(number)];
  const std::string where = rank.host.empty() ? fmt::format("rank {}", number)
                                              : fmt::format("rank {} on {}", number, rank.host);
  if (rank.process == 0) {
    return where + " never came";
  }
  return rank.busy ? fmt::format("{} is in {} (operation {})", where, rank.name, rank.operation)
                   : fmt::format("{} computes {}{}after operation {}", where, rank.name,
                                 rank.name.empty() ? "" : " ", rank.operation);
}

std::string Coordinator::at_work(const Rank& rank) {
  return rank.busy ? fmt::format("in {} (operation {})", rank.name, rank.operation)
                   : fmt::format("computing {}{}after operation {}", rank.name,
                                 rank.name.empty() ? "" : " ", rank.operation);
}

void Coordinator::lost_rank(int number, const std::string& how) {
  const Rank& rank = ranks_[static_cast<size_t>(number)];
  std::string text =
      fmt::format("rank {} on {} {}; it was {}", number, rank.host, how, at_work(rank));
  // What the others wait in says more than that the lost one computed.
  const auto waits = std::ranges::find_if(
      ranks_, [&](const Rank& r) { return r.busy && !r.done && r.operation > rank.operation; });
  if (!rank.busy && waits != ranks_.end()) {
    text += fmt::format("; {}", describe(static_cast<int>(waits - ranks_.begin())));
  }
  fail({number, kRankSilent, std::move(text)});
}

// Its ranks are lost with it: the first of them speaks for all.
void Coordinator::lost_node(int number, const std::string& how) {
  const auto first = static_cast<size_t>(number) * ranks_.size() / nodes_.size();
  std::string text =
      fmt::format("node {} ({}) {}", number, nodes_[static_cast<size_t>(number)].host, how);
  if (phase_ == Phase::running) {
    text +=
        fmt::format("; rank {} on {} was {}", first, ranks_[first].host, at_work(ranks_[first]));
  }
  fail({-1, kNodeLost, std::move(text)});
}

// All ranks that have work left compute, and none has got further for as long as an operation may
// last.
void Coordinator::stalled() {
  if (!std::ranges::all_of(ranks_, [](const Rank& r) { return r.stalls || r.done; })) {
    return;
  }
  Time least = INT64_MAX;
  std::string names;
  size_t named = 0;
  for (size_t i = 0; i < ranks_.size(); ++i) {
    if (ranks_[i].done) {
      continue;
    }
    least = std::min(least, ranks_[i].at_it_for);
    if (named++ < 4) {
      names += (names.empty() ? "" : "; ") + describe(static_cast<int>(i));
    }
  }
  fail({-1, kNoProgress,
        fmt::format("no rank has got further for {} s: {}{}", seconds(least), names,
                    named > 4 ? "; …" : "")});
}

// One rank has waited too long. At fault is who is behind: who has begun fewer operations, or is
// still in an operation that others have left.
void Coordinator::stuck() {
  const auto progress = [](const Rank& r) { return 2 * r.operation - (r.busy ? 1 : 0); };
  int64_t least = INT64_MAX, most = INT64_MIN;
  Time longest = 0;
  const Rank* waiting = nullptr;
  for (const Rank& r : ranks_) {
    if (r.done) {
      continue;
    }
    least = std::min(least, progress(r));
    most = std::max(most, progress(r));
    if (r.busy && r.at_it_for >= longest) {
      longest = r.at_it_for;
      waiting = &r;
    }
  }
  if (waiting == nullptr) {
    return;
  }
  std::vector<int> behind, other;
  for (size_t i = 0; i < ranks_.size(); ++i) {
    if (!ranks_[i].done && progress(ranks_[i]) == least) {
      behind.push_back(static_cast<int>(i));
    }
    if (!ranks_[i].done && ranks_[i].operation == waiting->operation && ranks_[i].busy &&
        ranks_[i].name != waiting->name) {
      other.push_back(static_cast<int>(i));
    }
  }
  const std::string wait = fmt::format("{} (operation {}) has lasted {} s", waiting->name,
                                       waiting->operation, seconds(longest));
  if (!other.empty()) {
    fail({other[0], kNoProgress,
          fmt::format("the ranks do different things: {}, and {}", wait, describe(other[0]))});
  } else if (least == most) {
    fail({-1, kNoProgress,
          wait + " on all ranks: none is behind, the network between them is at fault"});
  } else {
    std::string names;
    for (size_t i = 0; i < behind.size() && i < 4; ++i) {
      names += (i == 0 ? "" : "; ") + describe(behind[i]);
    }
    fail({behind[0], kNoProgress,
          fmt::format("{}: {} {} behind: {}", wait, list_ranks(behind),
                      behind.size() == 1 ? "is" : "are", names)});
  }
}

void Coordinator::fail(Cause cause) {
  if (phase_ != Phase::gathering && phase_ != Phase::running) {
    return;
  }
  phase_ = Phase::failed;
  phase_since_ = now_;
  reminder_ = Reminder(now_);
  cause_ = std::move(cause);
  store_.clear();
  meetings_.clear();
  const Message died =
      because_of(cause_->code, cause_->text, Type::died, cause_->rank, cause_->exit_code);
  for (const auto& [id, c] : connections_) {
    send(id, died);
  }
}

void Coordinator::closed(int64_t connection, Time now) {
  now_ = now;
  door_.left(connection);
  const auto found = connections_.find(connection);
  if (found == connections_.end()) {
    return;
  }
  const Connection gone = found->second;
  connections_.erase(found);
  store_.forget(connection);
  leave(gone);
  if (gone.kind == Connection::Kind::rank && phase_ == Phase::running &&
      !ranks_[static_cast<size_t>(gone.number)].done) {
    lost_rank(gone.number, "was lost: its connection closed");
  } else if (gone.kind == Connection::Kind::launcher &&
             !nodes_[static_cast<size_t>(gone.number)].idle) {
    lost_node(gone.number, "was lost: its connection closed");
  }
  if (gone.kind == Connection::Kind::launcher) {
    decide();
  }
}

// Before the start a rank that left may come again, and so may an idle launcher.
void Coordinator::leave(const Connection& gone) {
  if (gone.kind == Connection::Kind::rank) {
    ranks_[static_cast<size_t>(gone.number)].connection = -1;
  } else if (gone.kind == Connection::Kind::launcher) {
    nodes_[static_cast<size_t>(gone.number)].connection = -1;
  }
}

Time Coordinator::deadline() const {
  Time first = std::min({store_.deadline(), meetings_.deadline(), door_.deadline()});
  for (const auto& [id, c] : connections_) {
    first = std::min(first, c.heard + settings_.silence);
  }
  if (!awaited().empty()) {
    first = std::min(first, reminder_.next());
  }
  if (!connections_.empty()) {
    first = std::min(first, ticked_ + settings_.silence / 5);  // to know when it is us who slept
  }
  const bool over = phase_ == Phase::running || phase_ == Phase::over;
  if (phase_ == Phase::gathering || (!nodes_.empty() && !over)) {
    first = std::min(first, phase_since_ + settings_.join_timeout);
  }
  return first;
}

void Coordinator::tick(Time now) {
  now_ = now;
  if (now - std::exchange(ticked_, now) >= settings_.silence / 2) {
    // It was this process that slept: what the others said meanwhile has yet to be read.
    for (auto& [id, c] : connections_) {
      c.heard = std::max(c.heard, now - settings_.silence / 2);
    }
    door_.woke(now);
  }
  for (const int64_t id : door_.late(now)) {
    drop(id);
  }
  std::vector<Answer> answers;
  store_.expire(now, answers);
  meetings_.expire(now, [this](int rank) { return describe(rank); }, answers);
  answer(answers);
  std::vector<int64_t> silent;
  for (const auto& [id, c] : connections_) {
    if (now - c.heard >= settings_.silence) {
      silent.push_back(id);
    }
  }
  for (const int64_t id : silent) {
    const Connection c = connections_.at(id);
    const std::string how = fmt::format("has been silent for {} s", seconds(now - c.heard));
    if (c.kind == Connection::Kind::rank && phase_ == Phase::running &&
        !ranks_[static_cast<size_t>(c.number)].done) {
      lost_rank(c.number, how);
    } else if (c.kind == Connection::Kind::launcher &&
               !nodes_[static_cast<size_t>(c.number)].idle) {
      lost_node(c.number, how);
    }
    drop(id);
    leave(c);
    if (c.kind == Connection::Kind::launcher) {
      decide();
    }
  }
  if (now - phase_since_ >= settings_.join_timeout) {
    late();
  }
  if (reminder_.due(now)) {
    remind();
  }
}

std::string Coordinator::awaited() const {
  if (phase_ == Phase::gathering && (launched_ || nodes_.empty())) {
    return fmt::format("{} of {}", list_ranks(missing()), ranks_.size());
  }
  if (phase_ != Phase::gathering && phase_ != Phase::failed) {
    return {};
  }
  std::string names;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i].connection < 0) {
      names += fmt::format("{}{}", names.empty() ? "node " : ", ", i);
    }
  }
  return names.empty() ? names : fmt::format("{} of {}", names, nodes_.size());
}

// To whom people see: rank 0, or node 0's launcher before there are ranks.
void Coordinator::remind() {
  const std::string who = awaited();
  if (who.empty()) {
    return;
  }
  const bool of_ranks = phase_ == Phase::gathering && (launched_ || nodes_.empty());
  const int64_t to = of_ranks && ranks_[0].connection >= 0 ? ranks_[0].connection
                     : nodes_.empty()                      ? -1
                                                           : nodes_[0].connection;
  send(to, {Type::waits, 0, 0, 0, "",
            fmt::format("waiting for {} to come: {} s so far, at most {} s{}", who,
                        seconds(now_ - phase_since_), seconds(settings_.join_timeout),
                        turned_away_.empty()
                            ? ""
                            : fmt::format("; a newcomer was refused: {}", turned_away_))});
}

// Whoever is waited for has not come in time.
void Coordinator::late() {
  const std::string limit = seconds(settings_.join_timeout);
  if (phase_ == Phase::gathering && (launched_ || nodes_.empty())) {
    const std::vector<int> ranks = missing();
    fail({ranks[0], kNotInTime,
          fmt::format(
              "{} of {} did not come within {} s{}", list_ranks(ranks), ranks_.size(), limit,
              turned_away_.empty() ? ""
                                   : fmt::format("; a newcomer was refused: {}", turned_away_))});
  } else if (!nodes_.empty() && phase_ != Phase::running && phase_ != Phase::over) {
    std::string names;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (!nodes_[i].idle || nodes_[i].connection < 0) {
        names += fmt::format("{}{}", names.empty() ? "node " : ", ", i);
      }
    }
    if (phase_ == Phase::finished && !hurried_) {
      hurried_ = true;
      phase_since_ = now_;
      const std::string text =
          fmt::format("ranks of {} have done their work and did not end within {} s", names, limit);
      for (const Node& n : nodes_) {
        send(n.connection,
             because_of("N024", text, Type::died, -1, static_cast<int>(ExitCode::restart)));
      }
      return;
    }
    end_job(static_cast<int>(ExitCode::restart),
            fmt::format("{}{}{} did not come within {} s", cause_ ? cause_->text : "",
                        cause_ ? "; " : "", names, limit));
  }
}

std::vector<int> Coordinator::missing() const {
  std::vector<int> late;
  for (size_t i = 0; i < ranks_.size(); ++i) {
    if (ranks_[i].connection < 0) {
      late.push_back(static_cast<int>(i));
    }
  }
  return late;
}

}  // namespace sft::control
