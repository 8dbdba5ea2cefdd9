#include "torture/hostile_messages.h"

#include <algorithm>

#include "control/secret.h"
#include "control/wire.h"

namespace sft {

namespace {

using control::Hello;
using control::Message;
using control::Type;
using Random = std::mt19937_64;

int64_t draw(Random& random, int64_t low, int64_t high) {
  return low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low + 1));
}

std::string noise(Random& random, int64_t bytes) {
  std::string out(static_cast<size_t>(bytes), '\0');
  std::ranges::generate(out, [&] { return static_cast<char>(random()); });
  return out;
}

int64_t odd_number(Random& random) {
  constexpr int64_t kOdd[] = {INT64_MIN, INT32_MIN, -2, -1,        0,         1,
                              2,         3,         7,  INT32_MAX, 1LL << 32, INT64_MAX};
  return kOdd[random() % std::size(kOdd)];
}

// What a member of this run would say, but for the secret.
Hello right_hello(Random& random, const HostileTarget& t) {
  return {t.job,      t.secret ? noise(random, control::kNonceBytes) : "",
          0,          draw(random, 0, t.world - 1),
          t.world,    random(),
          "elsewhere"};
}

std::string frame(Type type, const Hello& hello, int64_t ranks = 0) {
  return control::encode(Message{type, 0, 0, ranks, "", control::encode(hello)});
}

Message any_message(Random& random) {
  constexpr int kTypes = 80;
  return {static_cast<Type>(random() % kTypes),
          odd_number(random),
          odd_number(random),
          odd_number(random),
          noise(random, draw(random, 0, 40)),
          noise(random, draw(random, 0, 400))};
}

HostileTalk say(const char* kind, std::vector<std::string> pieces) {
  HostileTalk talk;
  talk.kind = kind;
  talk.pieces = std::move(pieces);
  return talk;
}

HostileTalk other_protocol(Random& random) {
  const std::string all[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                             std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03", 11),
                             "SSH-2.0-OpenSSH_9.2\r\n",
                             "*1\r\n$4\r\nPING\r\n",
                             std::string("\x00\x00\x00\x08\x04\xD2\x16\x2F", 8),
                             "EHLO x\r\n",
                             std::string("\x3C\x0D\xF3\x1B\x00\x00\x00\x00", 8)};  // TCPStore's
  return say("another protocol", {all[random() % std::size(all)]});
}

HostileTalk hostile_length(Random& random) {
  constexpr uint32_t kLengths[] = {0, 1, 24, 4095, 4096, 4097, 1U << 20, 1U << 31, UINT32_MAX};
  const uint32_t length = kLengths[random() % std::size(kLengths)];
  std::string head(reinterpret_cast<const char*>(&length), 4);
  return say("a hostile length", {head + noise(random, draw(random, 0, 6000))});
}

HostileTalk damaged(Random& random, const HostileTarget& t) {
  std::string bytes = frame(Type::hello, right_hello(random, t));
  for (int64_t i = draw(random, 1, 4); i > 0; --i) {
    bytes[random() % bytes.size()] = static_cast<char>(random());
  }
  // Without a secret what is damaged where nobody looks is a right hello: to a place that is taken.
  return say("a damaged hello", {bytes});
}

HostileTalk large_fields(Random& random, const HostileTarget& t) {
  Hello hello = right_hello(random, t);
  hello.host = noise(random, draw(random, 300, 3500));
  if (random() % 2 == 0) {
    hello.host = "\x1b[2J\x1b]0;gone\x07" + hello.host;
  }
  hello.world = draw(random, 0, 1) == 0 ? t.world + 1 : hello.world;
  return say("large fields", {frame(Type::hello, hello)});
}

HostileTalk a_word_too_early(Random& random) {
  const Message m{static_cast<Type>(random() % 80), draw(random, 0, 200), 0, 0, "N017", "stopped"};
  return say("a member's or coordinator's word before hello", {control::encode(m)});
}

HostileTalk words_after_hello(Random& random, const HostileTarget& t) {
  std::string all = frame(random() % 3 == 0 ? Type::join : Type::hello, right_hello(random, t), 1);
  for (int64_t i = draw(random, 1, 5); i > 0; --i) {
    all += control::encode(any_message(random));
  }
  constexpr Type kHarm[] = {Type::failed,  Type::bye,  Type::stuck, Type::set,
                            Type::barrier, Type::idle, Type::beat};
  all += control::encode({kHarm[random() % std::size(kHarm)], 3, 0, 0, "resume", "0"});
  return say("words right behind a hello", {all});
}

HostileTalk false_proof(Random& random, const HostileTarget& t) {
  HostileTalk talk =
      say("a false proof",
          {frame(random() % 3 == 0 ? Type::join : Type::hello, right_hello(random, t), 1)});
  talk.waits = true;
  if (random() % 2 == 0) {
    talk.forges = true;
  } else {
    talk.pieces.push_back(control::encode(
        {Type::prove, 0, 0, 0, "", noise(random, random() % 2 == 0 ? 32 : draw(random, 0, 100))}));
  }
  return talk;
}

}  // namespace

HostileTalk hostile_talk(Random& random, const HostileTarget& t) {
  Hello hello = right_hello(random, t);
  HostileTalk talk;
  switch (random() % 17) {
    case 0:
      talk = say("noise", {noise(random, draw(random, 0, 9000))});
      break;
    case 1:
      talk = other_protocol(random);
      break;
    case 2:
      talk = hostile_length(random);
      break;
    case 3:
      talk = damaged(random, t);
      break;
    case 4: {
      std::string whole = frame(Type::hello, hello);
      talk = say("a hello cut short", {whole.substr(0, random() % whole.size())});
      break;
    }
    case 5:
      hello.job = noise(random, draw(random, 0, 30));
      talk = say("another run's member", {frame(Type::hello, hello)});
      break;
    case 6:
      hello.world = t.world * draw(random, 2, 4);
      hello.rank = draw(random, 0, hello.world - 1);
      talk = say("a larger run's member", {frame(Type::hello, hello)});
      break;
    case 7:
      hello.rank = odd_number(random);
      hello.world = random() % 2 == 0 ? odd_number(random) : t.world;
      talk = say("a rank that cannot be", {frame(Type::hello, hello)});
      break;
    case 8:
      hello.attempt = odd_number(random);
      talk = say("another attempt's member", {frame(Type::hello, hello)});
      break;
    case 9:
      talk = say("a second process of a rank", {frame(Type::hello, hello)});
      break;
    case 10:
      hello.world = random() % 2 == 0 ? t.nodes : odd_number(random);
      hello.rank = random() % 2 == 0 ? draw(random, 0, 1) : odd_number(random);
      talk = say("a launcher", {frame(Type::join, hello, odd_number(random))});
      break;
    case 11: {
      std::string text = control::encode(hello);
      text[random() % 8] = static_cast<char>(random());
      talk = say("another version", {control::encode({Type::hello, 0, 0, 0, "", text})});
      break;
    }
    case 12:
      hello.nonce = t.secret ? "" : noise(random, draw(random, 1, 64));
      talk =
          say("a secret where there is none, none where there is one", {frame(Type::hello, hello)});
      break;
    case 13:
      talk = large_fields(random, t);
      break;
    case 14:
      talk = a_word_too_early(random);
      break;
    case 15:
      talk = words_after_hello(random, t);
      break;
    default:
      talk = false_proof(random, t);
  }
  const uint64_t end = random() % 10;
  talk.end = end < 6   ? HostileTalk::End::close
             : end < 8 ? HostileTalk::End::reset
                       : HostileTalk::End::hold;
  return talk;
}

}  // namespace sft
