#include "control/member.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "control/codes.h"
#include "control/secret.h"
#include "core/error_codes.h"

namespace sft::control {

namespace {

constexpr Time kLongestBackoff = 2 * kSecond;

// Often enough that several may be lost to a slow machine before a rank counts as lost.
Time beat_interval(const MemberSettings& s) {
  return std::clamp<Time>(std::min(s.silence, s.operation_timeout) / 5, 10 * kMillisecond, kSecond);
}

}  // namespace

Member::Member(MemberSettings settings, Time now)
    : settings_(std::move(settings)), began_(now), next_try_(now), since_(now), reminder_(now) {
  tick(now);
}

void Member::restart(Time now, Time patience) {
  settings_.join_timeout = patience;
  state_ = State::waiting;
  cause_.reset();
  began_ = next_try_ = since_ = now;
  backoff_ = 50 * kMillisecond;
  reminder_ = Reminder(now);
  refused_since_ = -1;
  actions_.clear();
  held_.clear();
  tick(now);
}

// The next place, or after the last the first again, after a pause.
void Member::retry(Time now, const std::string& why) {
  last_problem_ = why;
  state_ = State::waiting;
  next_try_ = now;
  if (++address_ >= settings_.addresses) {
    address_ = 0;
    next_try_ = now + backoff_;
    backoff_ = std::min(2 * backoff_, kLongestBackoff);
    if (!std::exchange(refused_this_round_, false)) {
      refused_since_ = -1;
    }
  }
}

void Member::opened(Time now) {
  if (state_ != State::opening) {
    return;
  }
  state_ = State::greeting;
  since_ = now;
  const bool launcher = settings_.ranks_here > 0;
  proven_ = settings_.token.empty();
  nonce_.clear();
  settings_.hello.nonce = proven_ ? "" : nonce_of(settings_.seed, ++nonces_);
  Message hello{
      launcher ? Type::join : Type::hello, 0, 0, settings_.ranks_here, "", encode(settings_.hello)};
  said_ = encode(hello);
  send(std::move(hello));
}

void Member::challenged(const Message& m, Time now) {
  if (settings_.token.empty() || !nonce_.empty() || m.text.size() != kNonceBytes) {
    act(Action::Kind::close);
    retry(now, "what listens there speaks something else");
    return;
  }
  nonce_ = m.text;
  send({Type::prove, 0, 0, 0, "", proof(Side::member, settings_.token, nonce_, said_)});
}

void Member::proven(const Message& m, Time now) {
  if (nonce_.empty() || proven_ ||
      !same_secret(m.text, proof(Side::coordinator, settings_.token, nonce_, said_))) {
    act(Action::Kind::close);
    retry(now, "what listens there does not know this run's secret");
    return;
  }
  proven_ = true;
}

// What listens there may be a neighbour's run while ours is at the next place, or what is left of
// the attempt before: it is tried again for as long as a lost rank would be remembered. Who has one
// place and the wrong number or secret need not wait.
void Member::refused(const Message& m, Time now) {
  const Code code = code_of(m);
  const bool several = settings_.addresses > 1;
  if (!several || code != kOtherRun) {
    refused_since_ = refused_since_ < 0 ? now : refused_since_;
    refused_this_round_ = true;
  }
  const bool at_once =
      (code == kAttemptOver && proven_) ||
      (!several && (code == kOtherSize || code == kOtherSecret || code == kAttemptOver));
  const Time patience = settings_.silence + settings_.greeting;
  const bool waited = refused_since_ >= 0 && now - refused_since_ >= patience;
  act(Action::Kind::close);
  if (at_once || waited) {
    end({-1, code, fmt::format("{} refuses this process: {}", settings_.place, m.text),
         static_cast<int>(family_of(code).exit_code)},
        false);
  } else {
    retry(now, m.text);
  }
}

void Member::open_failed(Time now, const std::string& why) {
  if (state_ == State::opening) {
    retry(now, why);
  }
}

void Member::closed(Time now) {
  if (state_ == State::opening || state_ == State::greeting) {
    retry(now, "the connection was closed before an answer came");
  } else if (state_ == State::joined && settings_.ranks_here == 0) {
    retry(now, "the connection broke before all ranks had come");
  } else if (connected()) {
    end({-1, kCoordinatorLost,
         fmt::format("the connection to the run's coordinator ({}) broke{}", settings_.place,
                     own_part())},
        false);
  }
}

void Member::end(Cause cause, bool close) {
  if (state_ == State::failed || state_ == State::released) {
    return;
  }
  state_ = State::failed;
  cause_ = std::move(cause);
  if (close) {
    act(Action::Kind::close);
  }
  act(Action::Kind::failed);
}

void Member::fail(const Cause& why) {
  if (connected()) {
    send(because_of(why.code, why.text.substr(0, 2000), Type::failed, why.exit_code,
                    settings_.hello.attempt, why.rank));
  }
  end(why, true);
}

void Member::received(const Message& m, Time now) {
  heard_ = now;
  if (state_ == State::greeting) {
    // Until both sides know who the other is, nothing else counts.
    if (m.type == Type::challenge) {
      challenged(m, now);
      return;
    }
    if (m.type == Type::proven) {
      proven(m, now);
      return;
    }
    if (m.type == Type::refused) {
      refused(m, now);
      return;
    }
    if (!proven_) {
      act(Action::Kind::close);
      retry(now, "what listens there does not ask for this run's secret");
      return;
    }
  } else if (!connected()) {
    return;
  }
  switch (m.type) {
    case Type::welcome:
      if (state_ != State::greeting) {
        return;
      }
      state_ = State::joined;
      next_beat_ = now;
      if (settings_.ranks_here > 0) {
        act(Action::Kind::joined, m);
      }
      break;
    case Type::start:
      if (state_ != State::joined) {
        return;
      }
      state_ = State::started;
      act(Action::Kind::started);
      for (Message& held : std::exchange(held_, {})) {
        send(std::move(held));
      }
      break;
    case Type::died:
      if (settings_.ranks_here > 0) {
        cause_ = Cause{static_cast<int>(m.a), code_of(m), m.text, static_cast<int>(m.b)};
        act(Action::Kind::order, m);
      } else {
        end({static_cast<int>(m.a), code_of(m), m.text + own_part(), static_cast<int>(m.b)}, true);
      }
      break;
    case Type::released:
      if (state_ == State::leaving) {
        state_ = State::released;
        act(Action::Kind::close);
        act(Action::Kind::released);
      }
      break;
    case Type::reply:
    case Type::problem:
      act(Action::Kind::answered, m);
      break;
    case Type::launch:
    case Type::stop:
      act(Action::Kind::order, m);
      break;
    case Type::waits:
      act(Action::Kind::waits, m);
      break;
    default:
      break;
  }
}

void Member::beat(const Operations::View& at, Time now, Type type) {
  send({type, at.begun, at.busy ? 1 : 0, now - at.since, "", at.text.substr(0, 200)});
  next_beat_ = now + beat_interval(settings_);
}

std::string Member::own_part() const {
  const Operations::View at = operations_.view();
  if (settings_.ranks_here > 0 || (at.begun == 0 && at.text.empty())) {
    return {};
  }
  return fmt::format("; rank {} on {} {} {}", settings_.hello.rank, settings_.hello.host,
                     at.busy ? "was in" : "computed", at.text);
}

Time Member::deadline() const {
  switch (state_) {
    case State::waiting:
      return std::min({next_try_, began_ + settings_.join_timeout, reminder_.next()});
    case State::opening:
    case State::greeting:
      return std::min(
          {since_ + settings_.greeting, began_ + settings_.join_timeout, reminder_.next()});
    case State::joined:
    case State::started:
    case State::leaving: {
      Time first = std::min(next_beat_, heard_ + settings_.silence);
      if (const Operations::View at = operations_.view(); at.busy) {
        // A report that has led to nothing means that the coordinator is gone too.
        first = std::min(first, at.since + settings_.operation_timeout +
                                    (reported_ == at.begun ? settings_.silence : 0));
      }
      return first;
    }
    default:
      return INT64_MAX;
  }
}

void Member::tick(Time now) {
  if (state_ == State::failed || state_ == State::released) {
    return;
  }
  if (!connected()) {
    if (now - began_ >= settings_.join_timeout) {
      end({-1, kNotInTime,
           fmt::format("the run's coordinator ({}) was not found within {} s: {}", settings_.place,
                       seconds(settings_.join_timeout), last_problem_)},
          state_ != State::waiting);
    } else if (state_ == State::waiting && now >= next_try_) {
      state_ = State::opening;
      since_ = now;
      actions_.push_back({Action::Kind::open, {}, address_});
    } else if (state_ != State::waiting && now - since_ >= settings_.greeting) {
      act(Action::Kind::close);
      retry(now, state_ == State::opening ? fmt::format("no connection could be made in {} s",
                                                        seconds(settings_.greeting))
                                          : "what listens there does not answer");
    }
    if (state_ != State::failed && reminder_.due(now)) {
      const bool launcher = settings_.ranks_here > 0;
      act(Action::Kind::waits,
          {Type::waits, 0, 0, 0, "",
           fmt::format("{} {} of {} waits for the run's coordinator, {}: {} ({} s so far, at most "
                       "{} s)",
                       launcher ? "node" : "rank", settings_.hello.rank, settings_.hello.world,
                       settings_.place, last_problem_, seconds(now - began_),
                       seconds(settings_.join_timeout))});
    }
    return;
  }
  if (now - next_beat_ >= settings_.silence / 4) {
    // It was this process that slept: what the coordinator said meanwhile has yet to be read.
    heard_ = std::max(heard_, now - settings_.silence / 2);
  }
  if (now - heard_ >= settings_.silence) {
    end({-1, kCoordinatorLost,
         fmt::format("the run's coordinator ({}) has been silent for {} s{}", settings_.place,
                     seconds(now - heard_), own_part())},
        true);
    return;
  }
  const Operations::View at = operations_.view();
  const Time over = now - at.since - settings_.operation_timeout;
  if (at.busy && over >= 0 && reported_ != at.begun) {
    reported_ = at.begun;
    beat(at, now, Type::stuck);
  } else if (at.busy && over >= settings_.silence) {
    end({-1, kNoProgress,
         fmt::format("{} (operation {}) has lasted {} s", at.text, at.begun,
                     seconds(now - at.since))},
        true);
  } else if (now >= next_beat_) {
    // Computing for so long is an error only when all ranks do: the coordinator knows.
    const bool stalls = at.steps && over >= 0 && state_ == State::started;
    beat(at, now, stalls ? Type::stuck : Type::beat);
  }
}

void Member::request(Message message) {
  if (state_ == State::started || state_ == State::leaving ||
      (state_ == State::joined && settings_.ranks_here > 0)) {
    send(std::move(message));
  } else if (state_ != State::failed && state_ != State::released) {
    held_.push_back(std::move(message));
  }
}

void Member::finish() {
  if (state_ == State::started) {
    state_ = State::leaving;
    send({Type::bye, 0, 0, 0, "", ""});
  }
}

}  // namespace sft::control
