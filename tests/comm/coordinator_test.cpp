#include "comm/coordinator.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

namespace sft::control {
namespace {

// A coordinator of `world` ranks whose connections are their numbers, and what it said to each.
struct Room {
  explicit Room(int world) : coordinator(settings(world), 0) {}
  static CoordinatorSettings settings(int world) {
    CoordinatorSettings s;
    s.job = "job";
    s.token = "token";
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
    coordinator.opened(connection, now);
    say(connection, {Type::hello, 0, 0, 0, "", encode(h)});
  }
  void all_come(int world) {
    for (int r = 0; r < world; ++r) {
      hello(r, {"job", "token", 2, r, world, static_cast<uint64_t>(r) + 1,
                fmt::format("gpu-{}", r / 2)});
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
  room.hello(0, {"job", "token", 2, 0, 2, 1, "a"});
  EXPECT_EQ(room.last(0).type, Type::welcome);
  room.hello(1, {"job", "token", 2, 1, 2, 2, "b"});
  EXPECT_EQ(room.last(0).type, Type::start);
  EXPECT_EQ(room.last(1).type, Type::start);
}

TEST(Coordinator, StrangersAndStaleAttemptsStayOutside) {
  Room room(2);
  room.hello(5, {"job", "guess", 2, 0, 2, 1, "a"});
  EXPECT_EQ(room.last(5).key, "N010");
  room.hello(6, {"another", "token", 2, 0, 2, 1, "a"});
  EXPECT_EQ(room.last(6).key, "N010");
  room.hello(7, {"job", "token", 1, 0, 2, 1, "a"});
  EXPECT_EQ(room.last(7).key, "N011");
  room.hello(8, {"job", "token", 3, 0, 2, 1, "a"});
  EXPECT_TRUE(room.said[8].empty() && room.closed.contains(8)) << "it is early, and tries again";
  room.coordinator.opened(9, 0);
  room.say(9, {Type::set, 1, 0, 0, "key", "value"});
  EXPECT_TRUE(room.closed.contains(9));
  room.coordinator.opened(10, 0);
  room.tick(6 * kSecond);
  EXPECT_TRUE(room.closed.contains(10)) << "it never said who it is";
  room.all_come(2);
  EXPECT_EQ(room.last(0).type, Type::start);
}

TEST(Coordinator, TwoProcessesWithOneNumberAndAnotherWorldAreNamed) {
  Room room(2);
  room.hello(0, {"job", "token", 2, 0, 2, 1, "a"});
  room.hello(1, {"job", "token", 2, 0, 2, 9, "b"});
  EXPECT_EQ(room.last(1).key, "N013");
  room.hello(2, {"job", "token", 2, 3, 4, 9, "b"});
  EXPECT_EQ(room.last(2).key, "C121");
  EXPECT_EQ(room.last(0).type, Type::died);
  EXPECT_NE(room.last(0).text.find("rank 3 on b was started as one of 4 ranks"), std::string::npos);
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
    EXPECT_EQ(room.last(r).key, "C120");
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

TEST(Coordinator, LateRanksAreNamed) {
  Room room(3);
  room.hello(1, {"job", "token", 2, 1, 3, 1, "a"});
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
