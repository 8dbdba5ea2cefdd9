#include "control/door.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "control/codes.h"
#include "control/secret.h"

namespace sft::control {

namespace {

// What a newcomer calls its machine ends up in messages.
std::string printable(std::string host) {
  host.resize(std::min<size_t>(host.size(), 256));
  std::ranges::replace_if(host, [](unsigned char c) { return c < ' ' || c >= 127; }, '?');
  return host;
}

}  // namespace

int64_t Door::opened(int64_t connection, uint64_t address, Time now) {
  strangers_[connection] = {address, now, std::nullopt, "", ""};
  const bool crowd = ++of_address_[address] > settings_.most_of_one_address;
  if (!crowd && strangers_.size() <= settings_.most) {
    return -1;
  }
  const auto nuisance = [this](const Stranger& s) {
    return std::pair(of_address_.at(s.address), !s.claims);
  };
  auto worst = strangers_.end();
  for (auto s = strangers_.begin(); s != strangers_.end(); ++s) {
    const bool counts = !crowd || s->second.address == address;
    if (counts && (worst == strangers_.end() || nuisance(s->second) > nuisance(worst->second))) {
      worst = s;
    }
  }
  return worst->first;
}

bool Door::left(int64_t connection) {
  const auto found = strangers_.find(connection);
  if (found == strangers_.end()) {
    return false;
  }
  if (const auto count = of_address_.find(found->second.address); --count->second == 0) {
    of_address_.erase(count);
  }
  strangers_.erase(found);
  return true;
}

Door::Answer Door::refusal(Code code, const char* text) {
  return {because_of(code, text, Type::refused), true, std::nullopt};
}

Door::Answer Door::heard(int64_t connection, const Message& m) {
  Stranger& stranger = strangers_.at(connection);
  if (!stranger.claims) {
    return greet(stranger, m);
  }
  const std::string right = proof(Side::member, settings_.token, stranger.nonce, stranger.hello);
  if (m.type != Type::prove || !same_secret(m.text, right)) {
    return refusal(kOtherSecret, "the secret of the newcomer is not this run's");
  }
  const std::string ours =
      proof(Side::coordinator, settings_.token, stranger.nonce, stranger.hello);
  return {Message{Type::proven, 0, 0, 0, "", ours}, false, stranger.claims};
}

Door::Answer Door::greet(Stranger& stranger, const Message& m) {
  auto hello = decode_hello(m.text);
  if ((m.type != Type::hello && m.type != Type::join) || !hello) {
    return {std::nullopt, true, std::nullopt};
  }
  if (hello->job != settings_.job) {
    return refusal(kOtherRun, "the run that listens here has another id");
  }
  const bool knows = hello->nonce.size() == kNonceBytes;
  if (settings_.token.empty() && knows) {
    return refusal(kOtherSecret,
                   "the run that listens here has no secret, and the newcomer has one");
  }
  if (!settings_.token.empty() && !knows) {
    return refusal(kOtherSecret,
                   "the run that listens here has a secret, and the newcomer has none");
  }
  hello->host = printable(std::move(hello->host));
  Guest guest{std::move(*hello), m.type == Type::join, m.c};
  if (settings_.token.empty()) {
    return {std::nullopt, false, std::move(guest)};
  }
  stranger.claims = std::move(guest);
  stranger.hello = encode(m);
  stranger.nonce = nonce_of(settings_.seed, ++nonces_);
  return {Message{Type::challenge, 0, 0, 0, "", stranger.nonce}, false, std::nullopt};
}

std::vector<int64_t> Door::late(Time now) const {
  std::vector<int64_t> all;
  for (const auto& [id, s] : strangers_) {
    if (now - s.since >= settings_.greeting) {
      all.push_back(id);
    }
  }
  return all;
}

Time Door::deadline() const {
  Time first = std::numeric_limits<Time>::max();
  for (const auto& [id, s] : strangers_) {
    first = std::min(first, s.since + settings_.greeting);
  }
  return first;
}

void Door::woke(Time now) {
  for (auto& [id, s] : strangers_) {
    s.since = std::max(s.since, now - settings_.greeting / 2);
  }
}

}  // namespace sft::control
