#include "control/key_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/numbers.h"

namespace sft::control {

namespace {

constexpr size_t kOverhead = 128;  // what a key costs beside its bytes
constexpr size_t kMaxWaits = size_t{1} << 20;

}  // namespace

Answer reply(int64_t client, int64_t request, int64_t number, std::string text) {
  return {client, {Type::reply, request, number, 0, "", std::move(text)}};
}

Answer problem(int64_t client, int64_t request, Code code, std::string text) {
  return {client, because_of(code, std::move(text), Type::problem, request)};
}

void KeyStore::request(int64_t client, const Message& m, Time now, std::vector<Answer>& out) {
  const auto found = values_.find(m.key);
  const std::string* held = found == values_.end() ? nullptr : &found->second;
  switch (m.type) {
    case Type::set:
      store(client, m, m.text, 0, out);
      break;
    case Type::get:
      if (held != nullptr) {
        out.push_back(reply(client, m.a, 0, *held));
      } else if (waits_.size() >= kMaxWaits) {
        out.push_back(problem(client, m.a, "N025", "too many requests wait"));
      } else {
        const Time wait = std::clamp<Time>(m.b, 0, 30 * 86400 * kSecond);
        waits_.push_back({client, m.a, now + wait, now, m.key});
      }
      break;
    case Type::add: {
      int64_t number = 0;
      if (held != nullptr && !held->empty()) {
        const auto held_number = whole_number(*held);
        number = held_number.value_or(0);
        if (!held_number) {
          out.push_back(problem(client, m.a, "N026",
                                fmt::format("the store's \"{}\" holds no number", m.key)));
          break;
        }
      }
      if (__builtin_add_overflow(number, m.b, &number)) {
        out.push_back(problem(client, m.a, "N026",
                              fmt::format("the store's \"{}\" has grown too large", m.key)));
        break;
      }
      store(client, m, std::to_string(number), number, out);
      break;
    }
    case Type::compare: {
      if (m.b < 0 || static_cast<size_t>(m.b) > m.text.size()) {
        out.push_back(problem(client, m.a, "N022", "a request without sense"));
        break;
      }
      const std::string_view text = m.text;
      const auto split = static_cast<size_t>(m.b);
      const std::string_view now_held = held == nullptr ? std::string_view{} : *held;
      if (now_held == text.substr(0, split)) {
        store(client, m, std::string(text.substr(split)), 1, out);
      } else {
        out.push_back(reply(client, m.a, 0, std::string(now_held)));
      }
      break;
    }
    default:
      SFT_ASSERT(!"a store request");
  }
}

void KeyStore::store(int64_t client, const Message& m, std::string value, int64_t number,
                     std::vector<Answer>& out) {
  const auto found = values_.find(m.key);
  const size_t before =
      found == values_.end() ? 0 : found->second.size() + m.key.size() + kOverhead;
  const size_t after = value.size() + m.key.size() + kOverhead;
  if (m.key.size() > kMaxKey || value.size() > kMaxValue || bytes_ - before + after > kMaxStore) {
    out.push_back(
        problem(client, m.a, "N025",
                fmt::format("\"{}\" of {} bytes is too much for the store: a value has at most {} "
                            "bytes, all together {}",
                            m.key.substr(0, 80), value.size(), kMaxValue, kMaxStore)));
    return;
  }
  bytes_ = bytes_ - before + after;
  out.push_back(reply(client, m.a, number, m.type == Type::set ? std::string() : value));
  const auto waits = [&](const Wait& w) { return w.key == m.key; };
  for (const Wait& w : waits_) {
    if (waits(w)) {
      out.push_back(reply(w.client, w.number, 0, value));
    }
  }
  std::erase_if(waits_, waits);
  values_[m.key] = std::move(value);
}

void KeyStore::expire(Time now, std::vector<Answer>& out) {
  std::erase_if(waits_, [&](const Wait& w) {
    if (w.until > now) {
      return false;
    }
    out.push_back(
        problem(w.client, w.number, "N020",
                fmt::format("nobody has set \"{}\" within {} s", w.key, seconds(now - w.since))));
    return true;
  });
}

void KeyStore::forget(int64_t client) {
  std::erase_if(waits_, [&](const Wait& w) { return w.client == client; });
}

void KeyStore::clear() { *this = {}; }

Time KeyStore::deadline() const {
  Time first = std::numeric_limits<Time>::max();
  for (const Wait& w : waits_) {
    first = std::min(first, w.until);
  }
  return first;
}

}  // namespace sft::control
