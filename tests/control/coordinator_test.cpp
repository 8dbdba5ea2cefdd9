#include "control/coordinator.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "control/secret.h"

namespace sft::control {
namespace {

// A coordinator of `world` ranks whose connections are their numbers, and what it said to each.
struct Room {
  explicit Room(int world, const std::string& token = "")
      : coordinator(settings(world, token), 0) {}
  static CoordinatorSettings settings(int world, const std::string& token) {
    CoordinatorSettings s;
    s.job = "job";
    s.token = token;
    s.seed = "a seed";
    s.world = world;
    s.attempt = 2;
    return s;
  }
  void take() {
    for (auto& a : coordinator.take_actions()) {
      if (a.message) {
        said[a.connection].push_back(*a.message);
      } else {
        closed.insert(a.connection);
      }
    }
  }
  void say(int64_t connection, const Message& m) {
    coordinator.received(connection, m, now);
    take();
  }
  void hello(int64_t connection, Hello h) {
    coordinator.opened(connection, static_cast<uint64_t>(connection), now);
    say(connection, {Type::hello, 0, 0, 0, "", encode(h)});
  }
  void all_come(int world) {
    for (int r = 0; r < world; ++r) {
      hello(r,
            {"job", "", 2, r, world, static_cast<uint64_t>(r) + 1, fmt::format("gpu-{}", r / 2)});
    }
  }
  Message last(int64_t connection) {
    return said[connection].empty() ? Message{} : said[connection].back();
  }
  // As a driver does it: whenever it is due.
  void tick(Time at) {
    while (now < at) {
      now = std::min(at, std::max(coordinator.deadline(), now + kMillisecond));
      coordinator.tick(now);
      take();
    }
  }

  Time now = 0;
  Coordinator coordinator;
  std::map<int64_t, std::vector<Message>> said;
  std::set<int64_t> closed;
};

TEST(Coordinator, StartsWhenAllAreHere) {
  Room room(2);
  room.hello(0, {"job", "", 2, 0, 2, 1, "a"});
  EXPECT_EQ(room.last(0).type, Type::welcome);
  room.hello(1, {"job", "", 2, 1, 2, 2, "b"});
  EXPECT_EQ(room.last(0).type, Type::start);
  EXPECT_EQ(room.last(1).type, Type::start);
}

TEST(Coordinator, StrangersAndStaleAttemptsStayOutside) {
  Room room(2);
  room.hello(5, {"job", std::string(32, 'n'), 2, 0, 2, 1, "a"});
  EXPECT_EQ(room.last(5).key, "C138") << "it has a secret, and this run has none";
  room.hello(6, {"another", "", 2, 0, 2, 1, "a"});
  EXPECT_EQ(room.last(6).key, "N010");
  room.hello(7, {"job", "", 1, 0, 2, 1, "a"});
  EXPECT_EQ(room.last(7).key, "N011");
  room.hello(8, {"job", "", 3, 0, 2, 1, "a"});
  EXPECT_TRUE(room.said[8].empty() && room.closed.contains(8)) << "it is early, and tries again";
  room.coordinator.opened(9, 9, 0);
  room.say(9, {Type::set, 1, 0, 0, "key", "value"});
  EXPECT_TRUE(room.closed.contains(9));
  room.coordinator.opened(10, 10, 0);
  room.tick(6 * kSecond);
  EXPECT_TRUE(room.closed.contains(10)) << "it never said who it is";
  room.all_come(2);
  EXPECT_EQ(room.last(0).type, Type::start);
}

TEST(Coordinator, NoNewcomerEndsARunWhateverItSays) {
  for (const bool started : {false, true}) {
    Room room(2);
    room.hello(0, {"job", "", 2, 0, 2, 1, "a"});
    if (started) {
      room.hello(1, {"job", "", 2, 1, 2, 2, "b"});
    }
    room.hello(10, {"job", "", 2, 0, 2, 9, "b"});
    EXPECT_EQ(room.last(10).key, "N013");
    room.hello(11, {"job", "", 2, 3, 4, 9, "b"});
    EXPECT_EQ(room.last(11).key, "C151");
    EXPECT_EQ(room.last(11).text,
              "rank 3 on b was started as one of 4 ranks, and the run that listens here has 2");
    for (const int64_t number : {INT64_MIN, int64_t{-1}, int64_t{2}, INT64_MAX}) {
      for (const int64_t world : {INT64_MIN, int64_t{0}, int64_t{2}, INT64_MAX}) {
        for (const Type type : {Type::hello, Type::join}) {
          room.coordinator.opened(12, 12, room.now);
          room.say(12, {type, 0, 0, INT64_MAX, "",
                        encode(Hello{"job", "", 2, number, world, 9, "b\x1b[2J"})});
          EXPECT_TRUE(room.closed.contains(12));
          EXPECT_EQ(room.last(12).text.find('\x1b'), std::string::npos);
          room.closed.clear();
        }
      }
    }
    for (int type = 0; type < 256; ++type) {
      room.coordinator.opened(13, 13, room.now);
      room.say(13, {static_cast<Type>(type), 3, 2, 0, "N017", "gone"});
      EXPECT_TRUE(room.closed.contains(13)) << type;
      room.closed.clear();
    }
    EXPECT_FALSE(room.coordinator.cause());
    if (!started) {
      room.hello(1, {"job", "", 2, 1, 2, 2, "b"});
    }
    EXPECT_EQ(room.last(0).type, Type::start);
    EXPECT_EQ(room.last(1).type, Type::start);
  }
}

// As a member says it, with whatever secret it has.
struct Newcomer {
  Newcomer(Room& in, int64_t number, const std::string& token) : room(in), connection(number) {
    room.coordinator.opened(connection, static_cast<uint64_t>(number), room.now);
    said.text = encode(Hello{"job", nonce_of("mine", static_cast<uint64_t>(number)), 2, 1, 2,
                             static_cast<uint64_t>(number) + 1, "b"});
    room.say(connection, said);
    challenge = room.last(connection);
    answer = proof(Side::member, token, challenge.text.substr(0, kNonceBytes), encode(said));
  }
  Message prove(const std::string& text) {
    room.say(connection, {Type::prove, 0, 0, 0, "", text});
    return room.last(connection);
  }
  Room& room;
  int64_t connection;
  Message said{Type::hello, 0, 0, 0, "", ""}, challenge;
  std::string answer;
};

TEST(Coordinator, WhereThereIsASecretAPlaceIsHeldOnlyByWhoKnowsIt) {
  Room room(2, "secret");
  Newcomer first(room, 0, "secret");
  EXPECT_EQ(first.challenge.type, Type::challenge);
  // Wrong, empty, another's, the coordinator's own, or none at all.
  Newcomer wrong(room, 1, "guess");
  EXPECT_EQ(wrong.prove(wrong.answer).key, "C138");
  Newcomer replay(room, 2, "secret");
  EXPECT_EQ(replay.prove(first.answer).key, "C138") << "said on another connection";
  Newcomer mirrored(room, 3, "secret");
  const std::string ours =
      proof(Side::coordinator, "secret", mirrored.challenge.text, encode(mirrored.said));
  EXPECT_EQ(mirrored.prove(ours).key, "C138");
  Newcomer empty(room, 4, "secret");
  EXPECT_EQ(empty.prove("").key, "C138");
  Newcomer twice(room, 5, "secret");
  room.say(5, twice.said);
  EXPECT_TRUE(room.closed.contains(5));
  room.hello(6, {"job", "", 2, 1, 2, 9, "b"});
  EXPECT_EQ(room.last(6).key, "C138") << "it has none";
  EXPECT_NE(first.challenge.text, twice.challenge.text) << "no nonce is used twice";
  // None of them held the place.
  first.prove(first.answer);
  ASSERT_GE(room.said[0].size(), 3U);
  EXPECT_EQ(room.said[0][1].type, Type::proven);
  EXPECT_EQ(room.said[0][1].text,
            proof(Side::coordinator, "secret", first.challenge.text, encode(first.said)));
  EXPECT_EQ(room.said[0][2].type, Type::welcome);
  EXPECT_FALSE(room.coordinator.cause());
}

TEST(Coordinator, AFloodPushesOutItsOwnAndNotAMember) {
  Room room(2, "secret");
  Newcomer member(room, 0, "secret");
  // From one address, saying nothing: 20,000 that never close.
  for (int64_t id = 100; id < 20'100; ++id) {
    room.coordinator.opened(id, 77, room.now);
    room.take();
  }
  EXPECT_GE(room.closed.size(), 20'000U - 128U) << "128 of one address at most";
  // From as many addresses as there are connections.
  for (int64_t id = 30'000; id < 32'000; ++id) {
    room.coordinator.opened(id, static_cast<uint64_t>(id), room.now);
    room.take();
  }
  EXPECT_GE(room.closed.size(), 22'000U - 512U);
  EXPECT_FALSE(room.closed.contains(0)) << "who has said a word stays longer than who has not";
  EXPECT_EQ(member.prove(member.answer).type, Type::welcome);
  room.tick(6 * kSecond);
  EXPECT_GE(room.closed.size(), 22'000U) << "nobody stands at the door for longer than 5 s";
}

TEST(Coordinator, ALostRankIsNamedWithHostAndOperation) {
  Room room(4);
  room.all_come(4);
  room.say(3, {Type::beat, 812, 1, 5, "", "all_gather layers.14"});
  room.coordinator.closed(3, 10);
  room.take();
  for (int r = 0; r < 3; ++r) {
    EXPECT_EQ(room.last(r).type, Type::died);
    EXPECT_EQ(room.last(r).text,
              "rank 3 on gpu-1 was lost: its connection closed; it was in all_gather layers.14 "
              "(operation 812)");
  }
}

TEST(Coordinator, ASilentRankIsLostAndItsOwnReasonIsPassedOn) {
  Room silent(2);
  silent.all_come(2);
  silent.say(1, {Type::beat, 4, 0, 0, "", "at step 2"});
  silent.tick(9 * kSecond);
  silent.say(0, {Type::beat, 5, 1, 0, "", "all-reduce of 12 MB at step 2"});
  silent.tick(11 * kSecond);
  EXPECT_EQ(silent.last(0).text,
            "rank 1 on gpu-0 has been silent for 10 s; it was computing at step 2 after operation "
            "4; rank 0 on gpu-0 is in all-reduce of 12 MB at step 2 (operation 5)");
  Room reason(2);
  reason.all_come(2);
  reason.say(1, {Type::failed, 3, 0, 0, "D012", "row 7 has no text"});
  reason.coordinator.closed(1, 1);
  reason.take();
  EXPECT_EQ(reason.last(0).key, "N017");
  EXPECT_EQ(reason.last(0).text, "rank 1 on gpu-0 stopped: D012 row 7 has no text");
}

TEST(Coordinator, ItsOwnSleepIsNotTheOthersSilence) {
  Room room(2);
  room.all_come(2);
  room.now = 60 * kSecond;
  room.coordinator.tick(room.now);
  room.take();
  EXPECT_EQ(room.last(0).type, Type::start);
  room.tick(66 * kSecond);  // they had time to be heard
  EXPECT_EQ(room.last(0).key, "N016");
}

TEST(Coordinator, WhenNoRankGetsFurtherAllAreNamed) {
  Room room(3);
  room.all_come(3);
  room.say(0, {Type::bye, 0, 0, 0, "", ""});
  room.say(1, {Type::stuck, 6, 0, 30 * kSecond, "", "at step 3"});
  EXPECT_EQ(room.last(1).type, Type::beat) << "rank 2 may still get further";
  room.say(2, {Type::stuck, 6, 0, 31 * kSecond, "", "at step 3"});
  EXPECT_EQ(room.last(1).key, "N018");
  EXPECT_EQ(room.last(1).text,
            "no rank has got further for 30 s: rank 1 on gpu-0 computes at step 3 after operation "
            "6; rank 2 on gpu-1 computes at step 3 after operation 6");
}

TEST(Coordinator, WhoIsBehindIsAtFault) {
  Room room(3);
  room.all_come(3);
  room.say(0, {Type::beat, 813, 1, 10, "", "reduce_scatter"});
  room.say(1, {Type::beat, 812, 0, 0, "", ""});
  room.say(2, {Type::stuck, 813, 1, 30 * kSecond, "", "reduce_scatter"});
  EXPECT_EQ(room.last(0).key, "N018");
  EXPECT_EQ(room.last(0).text,
            "reduce_scatter (operation 813) has lasted 30 s: rank 1 is behind: rank 1 on gpu-0 "
            "computes after operation 812");
  Room different(2);
  different.all_come(2);
  different.say(0, {Type::beat, 5, 1, 10, "", "all_gather"});
  different.say(1, {Type::stuck, 5, 1, 30 * kSecond, "", "barrier"});
  EXPECT_NE(different.last(0).text.find("the ranks do different things"), std::string::npos);
}

TEST(Coordinator, ABarrierNamesWhoIsMissing) {
  Room room(3);
  room.all_come(3);
  room.say(0, {Type::barrier, 1, 5 * kSecond, 0, "eval", ""});
  room.say(2, {Type::barrier, 1, 5 * kSecond, 0, "eval", ""});
  room.say(1, {Type::beat, 4, 1, 9, "", "all_reduce"});
  room.tick(5 * kSecond);
  EXPECT_EQ(room.last(0).key, "N021");
  EXPECT_EQ(room.last(2).text,
            "rank 1 did not come to \"eval\" within 5 s: rank 1 on gpu-0 is in all_reduce "
            "(operation 4)");
  for (int64_t r = 0; r < 3; ++r) {  // and the name can be used again
    room.say(r, {Type::barrier, 7, 5 * kSecond, 0, "eval", ""});
  }
  EXPECT_EQ(room.last(1).type, Type::reply);
}

TEST(Coordinator, RanksThatDisagreeAreNamedWithTheKey) {
  Room room(4);
  room.all_come(4);
  for (int64_t r = 0; r < 4; ++r) {
    const Facts facts = {{"seed", "42"}, {"learning_rate", r == 3 ? "2e-5" : "1e-5"}};
    room.say(r, {Type::agree, 1, kSecond, 0, "configuration", encode_facts(facts)});
  }
  for (int64_t r = 0; r < 4; ++r) {
    EXPECT_EQ(room.last(r).key, "C150");
    EXPECT_EQ(room.last(r).text,
              "the ranks do not agree on the configuration: learning_rate is 1e-5 on ranks 0-2, "
              "2e-5 on rank 3");
  }
}

TEST(Coordinator, TheStoreWaitsAddsComparesAndHasLimits) {
  Room room(2);
  room.all_come(2);
  room.say(0, {Type::get, 1, 10 * kSecond, 0, "id", ""});
  EXPECT_NE(room.last(0).type, Type::reply);
  room.say(1, {Type::set, 1, 0, 0, "id", "abc"});
  EXPECT_EQ(room.last(0).text, "abc");
  room.say(0, {Type::add, 2, 5, 0, "n", ""});
  room.say(1, {Type::add, 2, -2, 0, "n", ""});
  EXPECT_EQ(room.last(1).b, 3);
  room.say(1, {Type::add, 3, 1, 0, "id", ""});
  EXPECT_EQ(room.last(1).key, "N026");
  room.say(0, {Type::compare, 3, 0, 0, "leader", "0"});
  EXPECT_EQ(room.last(0).text, "0");
  room.say(1, {Type::compare, 4, 0, 0, "leader", "1"});
  EXPECT_EQ(room.last(1).text, "0");
  room.say(0, {Type::get, 5, kSecond, 0, "never", ""});
  room.tick(kSecond);
  EXPECT_EQ(room.last(0).key, "N020");
  const std::string large(kMaxValue, 'x');
  std::string code;
  for (int i = 0; i < 80 && code.empty(); ++i) {
    room.say(0, {Type::set, 10 + i, 0, 0, fmt::format("k{}", i), large});
    code = room.last(0).key;
  }
  EXPECT_EQ(code, "N025");
}

TEST(Coordinator, WhoIsWaitedForIsSaidSoonAndThenEverMoreSeldom) {
  Room room(3);
  room.hello(1, {"job", "", 2, 1, 3, 1, "a"});
  room.hello(0, {"job", "", 2, 0, 3, 2, "a"});
  room.hello(7, {"job", "", 2, 4, 8, 9, "b"});
  std::vector<Time> when;
  std::string first;
  for (Time t = kSecond; t <= 500 * kSecond; t += kSecond) {
    room.say(0, {Type::beat, 0, 0, 0, "", ""});
    room.say(1, {Type::beat, 0, 0, 0, "", ""});
    room.said.clear();
    room.tick(t);
    for (const Message& m : room.said[0]) {
      if (m.type == Type::waits) {
        when.push_back(t / kSecond);
        first = first.empty() ? m.text : first;
      }
    }
  }
  EXPECT_EQ(when, (std::vector<Time>{4, 16, 52, 160, 460}));
  EXPECT_EQ(first,
            "waiting for rank 2 of 3 to come: 4 s so far, at most 600 s; a newcomer was refused: "
            "rank 4 on b was started as one of 8 ranks, and the run that listens here has 3");
}

TEST(Coordinator, LateRanksAreNamed) {
  Room room(3);
  room.hello(1, {"job", "", 2, 1, 3, 1, "a"});
  for (Time t = kSecond; t <= 600 * kSecond; t += 5 * kSecond) {
    room.now = t;
    room.say(1, {Type::beat, 0, 0, 0, "", ""});
    room.tick(t);
  }
  room.tick(600 * kSecond);
  EXPECT_EQ(room.last(1).text, "ranks 0, 2 of 3 did not come within 600 s");
}

}  // namespace
}  // namespace sft::control
