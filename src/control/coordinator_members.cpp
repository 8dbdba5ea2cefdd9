// The coordinator's door, and what it tells the nodes' launchers: who may come in, and which
// attempt is the next.
#include <fmt/format.h>

#include <algorithm>

#include "control/codes.h"
#include "control/coordinator.h"
#include "control/node_agent.h"

namespace sft::control {

void Coordinator::admit(int64_t connection, const Connection& as) {
  door_.left(connection);
  connections_[connection] = as;
}

void Coordinator::greet_rank(int64_t connection, const Hello& hello) {
  if (hello.attempt < settings_.attempt) {
    refuse(connection, kAttemptOver,
           fmt::format("attempt {} of this run is over; attempt {} runs", hello.attempt,
                       settings_.attempt));
    return;
  }
  if (hello.attempt > settings_.attempt) {
    drop(connection);  // it is ahead of us: let it try again until our successor listens
    return;
  }
  if (cause_) {
    send(connection,
         because_of(cause_->code, cause_->text, Type::died, cause_->rank, cause_->exit_code));
    drop(connection);
    return;
  }
  if (hello.world != settings_.world || hello.rank < 0 || hello.rank >= settings_.world) {
    refuse(
        connection, kOtherSize,
        fmt::format("rank {} on {} was started as one of {} ranks, and the run that listens here "
                    "has {}",
                    hello.rank, hello.host, hello.world, settings_.world));
    return;
  }
  const auto number = static_cast<int>(hello.rank);
  Rank& rank = ranks_[static_cast<size_t>(number)];
  if (phase_ != Phase::gathering || (rank.connection >= 0 && rank.process != hello.process)) {
    refuse(
        connection, kTaken,
        fmt::format("rank {} is here already, from {}: two processes have one number, or two runs "
                    "one port",
                    number, rank.host));
    return;
  }
  if (rank.connection >= 0) {
    drop(rank.connection);  // the same process again, after its first connection broke
  }
  rank = {};
  rank.connection = connection;
  rank.process = hello.process;
  rank.host = hello.host;
  admit(connection, {Connection::Kind::rank, number, now_});
  send(connection, {Type::welcome, 0, settings_.attempt, 0, "", ""});
  if (missing().empty()) {
    phase_ = Phase::running;
    phase_since_ = now_;
    for (const Rank& r : ranks_) {
      send(r.connection, {Type::start, 0, settings_.attempt, 0, "", ""});
    }
  }
}

void Coordinator::greet_launcher(int64_t connection, const Hello& hello, int64_t ranks) {
  const auto nodes = static_cast<int64_t>(nodes_.size());
  if (hello.world != nodes || hello.rank < 0 || hello.rank >= nodes ||
      ranks != settings_.world / nodes) {
    refuse(connection, kOtherSize,
           fmt::format("node {} ({}) starts {} ranks on each of {} nodes; node 0 says {} on each "
                       "of {}",
                       hello.rank, hello.host, ranks, hello.world,
                       nodes == 0 ? settings_.world : settings_.world / nodes, nodes));
    return;
  }
  Node& node = nodes_[static_cast<size_t>(hello.rank)];
  if (node.connection >= 0 && node.process != hello.process) {
    refuse(connection, kTaken,
           fmt::format("node {} is here already, from {}", hello.rank, node.host));
    return;
  }
  if (node.connection >= 0) {
    drop(node.connection);
  }
  node.connection = connection;
  node.process = hello.process;
  node.host = hello.host;
  admit(connection, {Connection::Kind::launcher, static_cast<int>(hello.rank), now_});
  if (phase_ == Phase::over) {
    send(connection, stop_);
    return;
  }
  send(connection, {Type::welcome, 0, settings_.attempt, 0, "", ""});
}

void Coordinator::from_launcher(int number, const Message& m) {
  Node& node = nodes_[static_cast<size_t>(number)];
  switch (m.type) {
    case Type::beat:
      send(node.connection, {Type::beat, 0, 0, 0, "", ""});
      break;
    case Type::failed:  // of one of its ranks, which may never have come here; b: its attempt
      if (m.b == settings_.attempt) {
        fail({static_cast<int>(m.c), code_of(m), m.text.substr(0, 2000),
              static_cast<int>(std::clamp<int64_t>(m.a, 1, 255))});
        phase_since_ = now_;
      }
      break;
    case Type::idle:
      node.exit_code = m.a;
      node.told_to_stop = m.c != 0;
      node.idle = m.b == -1 || m.b == settings_.attempt;
      decide();
      break;
    default:
      drop(node.connection);
      node.connection = -1;
  }
}

// Once no rank runs on any node: the first attempt, the next one, or the end.
void Coordinator::decide() {
  // A lost node is waited for only where another attempt may need it; nobody who was told to stop
  // waits for one that has not come.
  const bool last = settings_.attempt - first_attempt_ >= settings_.max_restarts;
  const auto told = [](const Node& n) { return n.connection >= 0 && n.idle && n.told_to_stop; };
  const bool stops = std::ranges::any_of(nodes_, told);
  const bool gone = (launched_ && last && phase_ == Phase::failed) ||
                    (stops && (!launched_ || phase_ == Phase::failed));
  const auto here = [&](const Node& n) { return n.connection < 0 ? gone : n.idle; };
  if (phase_ == Phase::over || !std::ranges::all_of(nodes_, here)) {
    return;
  }
  if (!launched_ && stops) {
    end_job(static_cast<int>(std::ranges::find_if(nodes_, told)->exit_code),
            fmt::format("stopped before {} had come", awaited()));
    return;
  }
  if (!launched_) {
    begin_attempt(settings_.attempt);
    return;
  }
  constexpr auto kRestart = static_cast<int64_t>(ExitCode::restart);
  int64_t worst = cause_ ? cause_->exit_code : 0;
  bool stopped = false;
  std::string text = cause_ ? cause_->text : "";
  for (const Node& n : nodes_) {
    stopped = stopped || n.told_to_stop;
    // A rank's own reason to stop says more than that its neighbours lost it.
    if (n.exit_code != 0 && (worst == 0 || (worst >= 128 && n.exit_code < 128))) {
      worst = n.exit_code;
      if (!cause_) {
        text = fmt::format("a rank on {} ended with {}", n.host,
                           describe_status(static_cast<int>(worst)));
      }
    }
  }
  constexpr auto kInterrupted = static_cast<int64_t>(ExitCode::sigint);
  constexpr auto kTerminated = static_cast<int64_t>(ExitCode::sigterm);
  if (phase_ == Phase::finished && worst >= 128 && worst != kInterrupted && worst != kTerminated) {
    worst = 0;  // all ranks had done their work: how one went then loses nothing
  }
  if (worst > 128 && !stopped) {
    worst = kRestart;  // however a rank died
  }
  const bool again = worst >= 128 && !stopped;
  if (again && settings_.attempt - first_attempt_ < settings_.max_restarts) {
    begin_attempt(settings_.attempt + 1);
    return;
  }
  end_job(static_cast<int>(worst), worst == 0 ? "" : text);
}

void Coordinator::begin_attempt(int64_t attempt) {
  const bool again = launched_;
  launched_ = true;
  settings_.attempt = attempt;
  phase_ = Phase::gathering;
  phase_since_ = now_;
  hurried_ = false;
  reminder_ = Reminder(now_);
  turned_away_.clear();
  cause_.reset();
  store_.clear();
  meetings_.clear();
  for (const Rank& r : ranks_) {
    if (r.connection >= 0) {
      drop(r.connection);  // what is left of the attempt before
    }
  }
  ranks_.assign(ranks_.size(), {});
  for (Node& n : nodes_) {
    n.idle = false;
    n.exit_code = 0;
    send(n.connection, {Type::launch, 0, attempt, again ? 1 : 0, "", ""});
  }
}

void Coordinator::end_job(int exit_code, const std::string& text) {
  phase_ = Phase::over;
  stop_ = cause_ ? because_of(cause_->code, text, Type::stop, exit_code)
                 : Message{Type::stop, exit_code, 0, 0, "", text};
  for (const Node& n : nodes_) {
    send(n.connection, stop_);
  }
}

}  // namespace sft::control
