#include "control/node_agent.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstring>

#include "control/codes.h"

namespace sft::control {

std::string describe_status(int status) {
  const int signal = status - 128;
  if (signal == SIGKILL) {
    return "signal 9 (SIGKILL: killed by hand, or by the system for want of memory)";
  }
  if (signal > 0 && signal < 65 && status != static_cast<int>(ExitCode::restart)) {
    const char* name = sigabbrev_np(signal);
    return fmt::format("signal {} (SIG{})", signal, name == nullptr ? "?" : name);
  }
  return fmt::format("exit code {}", status);
}

NodeAgent::NodeAgent(AgentSettings settings, Time now)
    : settings_(std::move(settings)), member_(settings_.member, now) {
  pump(now);
}

void NodeAgent::pump(Time now) {
  for (Member::Action& a : member_.take_actions()) {
    switch (a.kind) {
      case Member::Action::Kind::open:
        act({Action::Kind::open, {}, 0, a.address, false, ""});
        break;
      case Member::Action::Kind::send:
        act({Action::Kind::send, std::move(a.message), 0, 0, false, ""});
        break;
      case Member::Action::Kind::close:
        act({Action::Kind::close, {}, 0, 0, false, ""});
        break;
      case Member::Action::Kind::joined:
        lost_ = false;
        if (alive_ == 0) {
          nobody_left(now);
        }
        break;
      case Member::Action::Kind::waits:
        act({Action::Kind::waits, {}, 0, 0, false, a.message.text});
        break;
      case Member::Action::Kind::order:
        order(a.message, now);
        break;
      case Member::Action::Kind::failed: {
        const Cause& cause = *member_.cause();
        if (cause.code != kCoordinatorLost || over_) {
          leave(cause.exit_code, cause.text);  // it was never let in
          break;
        }
        lost_ = true;
        act({Action::Kind::say, {}, 0, 0, false, cause.text});
        if (alive_ > 0) {
          end_ranks(now);
        } else {
          nobody_left(now);
        }
        break;
      }
      default:
        break;
    }
  }
}

void NodeAgent::order(const Message& m, Time now) {
  if (m.type == Type::launch && alive_ == 0) {
    attempt_ = m.b;
    alive_ = settings_.ranks;
    exit_code_ = 0;
    said_ = false;
    kill_at_ = INT64_MAX;
    act({Action::Kind::start, {}, m.b, 0, m.c != 0, ""});
  } else if (m.type == Type::died) {
    if (!said_) {
      said_ = true;
      act({Action::Kind::say, {}, 0, static_cast<int>(m.a), false, m.text});
    }
    end_ranks(now);
  } else if (m.type == Type::stop) {
    leave(static_cast<int>(m.a), m.text);
  }
}

void NodeAgent::end_ranks(Time now) {
  if (alive_ > 0) {
    kill_at_ = std::min(kill_at_, now + settings_.grace);
  }
}

void NodeAgent::leave(int code, std::string text) {
  if (over_) {
    return;
  }
  over_ = true;
  if (alive_ > 0) {
    act({Action::Kind::kill, {}, 0, 0, false, ""});
  }
  if (!said_ && !text.empty()) {
    act({Action::Kind::say, {}, 0, 0, false, text});
  }
  act({Action::Kind::close, {}, 0, 0, false, ""});
  act({Action::Kind::leave, {}, 0, code, false, std::move(text)});
}

// No rank runs here: the coordinator hears it, and decides; without one, it is looked for again.
void NodeAgent::nobody_left(Time now) {
  kill_at_ = INT64_MAX;
  if (over_) {
    return;
  }
  if (lost_) {
    if (stop_signal_ != 0) {
      leave(128 + stop_signal_, "");
      return;
    }
    lost_ = false;
    // Without an attempt to come, only to hear how the job ended.
    const bool last = attempt_ >= settings_.max_restarts;
    said_ = said_ || last;
    member_.restart(now, last ? settings_.member.silence : settings_.member.join_timeout);
    pump(now);
    return;
  }
  const bool stop = stop_signal_ != 0;
  member_.request({Type::idle, attempt_ < 0 && stop ? 128 + stop_signal_ : exit_code_, attempt_,
                   stop ? 1 : 0, "", ""});
}

void NodeAgent::rank_ended(int local_rank, int status, Time now) {
  --alive_;
  const bool asked = stop_signal_ != 0 && status == 128 + stop_signal_;
  if (status != 0) {
    const bool says_little = exit_code_ == 0 || exit_code_ == static_cast<int>(ExitCode::restart);
    exit_code_ = says_little ? status : exit_code_;
    if (!asked) {
      const int rank = settings_.first_rank + local_rank;
      member_.request(because_of(kRankStopped,
                                 fmt::format("rank {} on {} ended with {}", rank,
                                             settings_.member.hello.host, describe_status(status)),
                                 Type::failed, status, attempt_, rank));
      end_ranks(now);
    }
  }
  if (alive_ == 0) {
    nobody_left(now);
  }
  pump(now);
}

void NodeAgent::signalled(int signal, bool stop, Time now) {
  const bool second = stop && stop_signal_ != 0;
  if (stop && stop_signal_ == 0) {
    stop_signal_ = signal;
  }
  if (alive_ > 0) {
    act({second ? Action::Kind::kill : Action::Kind::signal, {}, 0, signal, false, ""});
  } else if (second || (stop && member_.state() != Member::State::joined)) {
    leave(128 + signal, "");
  } else if (stop) {
    nobody_left(now);
    pump(now);
  }
}

void NodeAgent::tick(Time now) {
  member_.tick(now);
  pump(now);
  if (now >= kill_at_) {
    kill_at_ = INT64_MAX;
    act({Action::Kind::kill, {}, 0, 0, false, ""});
  }
}

Time NodeAgent::deadline() const { return std::min(member_.deadline(), kill_at_); }

}  // namespace sft::control
