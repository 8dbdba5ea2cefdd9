// What strangers and ranks may send to the coordinator, and it to a rank: raw bytes as frames, and
// sound messages in any order. Three bytes begin each piece: the connection, what to do, how much.
#include <algorithm>
#include <map>

#include "control/coordinator.h"
#include "control/member.h"
#include "control/secret.h"
#include "fuzz/support.h"

namespace {

using namespace sft;
using namespace sft::control;

struct Bytes {
  const uint8_t* at;
  size_t left;
  uint8_t one() {
    if (left == 0) {
      return 0;
    }
    --left;
    return *at++;
  }
  std::string some(size_t count) {
    count = std::min(count, left);
    std::string out(reinterpret_cast<const char*>(at), count);
    at += count;
    left -= count;
    return out;
  }
};

Message message_from(Bytes& bytes) {
  Message message;
  message.type = static_cast<Type>(bytes.one());
  message.a = static_cast<int8_t>(bytes.one());
  message.b = static_cast<int8_t>(bytes.one());
  message.c = static_cast<int8_t>(bytes.one());
  message.key = bytes.some(bytes.one() % 16);
  message.text = bytes.some(bytes.one() % 64);
  return message;
}

// What the driver does with bytes: frames until one is not sound.
template <class Take>
bool feed(FrameReader& reader, const std::string& bytes, Take&& take) {
  reader.add(bytes);
  try {
    while (auto message = reader.next()) {
      take(*message);
    }
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes bytes{data, size};
  const uint8_t kind = bytes.one();
  const int nodes = kind % 3;
  const std::string token = kind < 128 ? "secret" : "";
  Coordinator coordinator({.job = "j", .token = token, .seed = "s", .world = 2, .nodes = nodes}, 0);
  Member member({.hello = {.job = "j", .world = 2}, .token = token, .seed = "m"}, 0);
  std::map<int64_t, FrameReader> open;
  FrameReader of_member;
  Time now = 0;
  while (bytes.left > 0) {
    const int64_t connection = bytes.one() % 5;
    const uint8_t what = bytes.one();
    now += (what >> 4) * kSecond;
    if (!open.contains(connection)) {
      open[connection] = {};
      coordinator.opened(connection, static_cast<uint64_t>(connection) / 2, now);
    }
    const auto to_coordinator = [&](const std::string& text) {
      open[connection].set_limit(coordinator.trusts(connection) ? kMaxFrame : kMaxHello);
      return feed(open[connection], text,
                  [&](const Message& message) { coordinator.received(connection, message, now); });
    };
    const auto leave = [&](int64_t who) {
      if (open.erase(who) > 0) {
        coordinator.closed(who, now);
      }
    };
    bool sound = true;
    switch (what % 8) {
      case 0:
        sound = to_coordinator(bytes.some(bytes.one()));
        break;
      case 1: {  // one who knows the secret, or else guesses
        const int64_t rank = static_cast<int8_t>(bytes.one());
        const Hello hello{.job = "j",
                          .nonce = token.empty() ? "" : std::string(kNonceBytes, 'n'),
                          .rank = rank,
                          .world = 2,
                          .process = bytes.one(),
                          .host = "h"};
        const Type type = bytes.one() % 2 == 0 ? Type::hello : Type::join;
        const Message first{.type = type, .c = 1, .text = encode(hello)};
        sound = to_coordinator(encode(first));
        const bool knows = bytes.one() % 2 == 0;
        for (const auto& action : coordinator.take_actions()) {
          if (!action.message) {
            leave(action.connection);
          } else if (action.message->type == Type::challenge) {
            const std::string answer =
                proof(Side::member, knows ? token : "guess", action.message->text, encode(first));
            sound = to_coordinator(encode(Message{.type = Type::prove, .text = answer}));
          }
        }
        break;
      }
      case 2:
        sound = false;
        break;
      case 3:
        member.opened(now);
        break;
      case 4:
        if (!feed(of_member, encode(message_from(bytes)),
                  [&](const Message& message) { member.received(message, now); })) {
          of_member = {};
          member.closed(now);
        }
        break;
      case 5:
        if (!feed(of_member, bytes.some(bytes.one()),
                  [&](const Message& message) { member.received(message, now); })) {
          of_member = {};
          member.closed(now);
        }
        break;
      default:
        sound = to_coordinator(encode(message_from(bytes)));
    }
    if (!sound) {
      leave(connection);
    }
    coordinator.tick(now);
    member.tick(now);
    for (const auto& action : coordinator.take_actions()) {
      if (!action.message) {
        leave(action.connection);
      }
    }
    member.take_actions();
  }
  return 0;
}
