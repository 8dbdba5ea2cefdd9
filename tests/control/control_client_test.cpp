#include "control/control_client.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <thread>

#include "comm/communicator.h"
#include "control/notice.h"
#include "control/secret.h"
#include "control/socket.h"
#include "support/dial.h"

namespace sft {
namespace {

int free_port() {
  const auto listener = control::listen_on(0, true);
  return control::port_of(listener->get());
}

JoinSettings settings(int rank, int world, int port) {
  JoinSettings s;
  s.rank = rank;
  s.world = world;
  s.host = "host-" + std::to_string(rank);
  s.master = "localhost";
  s.ports = {port};
  s.serve = rank == 0;
  s.job = "test";
  s.token = "secret";
  s.join_timeout = 20;
  s.silence = 2;
  s.operation_timeout = 1;
  return s;
}

// Runs `work` as so many ranks, each a thread; returns what each threw ("" for nothing).
std::vector<std::string> run(int world, const std::function<void(RankControl&)>& work,
                             const std::function<void(JoinSettings&)>& change = {}) {
  const int port = free_port();
  std::vector<std::string> thrown(static_cast<size_t>(world));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        JoinSettings s = settings(rank, world, port);
        if (change) {
          change(s);
        }
        const auto control = join_run(s);
        try {
          work(*control);
          control->finish();
        } catch (const Error& e) {
          control->fail(e);
          throw;
        }
      } catch (const Error& e) {
        thrown[static_cast<size_t>(rank)] = std::string(e.code().text()) + " " + e.message();
      }
    });
  }
  for (std::thread& t : threads) {
    t.join();
  }
  return thrown;
}

TEST(ControlClient, RanksMeetAndShareAStore) {
  std::atomic<int> sum = 0;
  const auto thrown = run(4, [&](RankControl& c) {
    c.agree("configuration", {{"version", "1"}});
    if (c.rank() == 2) {
      c.set("id", "from two");
    }
    EXPECT_EQ(c.get("id"), "from two");
    sum += static_cast<int>(c.add("count", 1));
    c.barrier("all");
    EXPECT_EQ(c.get("count"), "4");
    const std::string leader = c.compare_set("leader", "", std::to_string(c.rank()));
    EXPECT_EQ(leader, c.get("leader"));
    EXPECT_EQ(c.decide("resume", [] { return std::string("checkpoint-20"); }), "checkpoint-20");
  });
  EXPECT_EQ(thrown, std::vector<std::string>(4));
  EXPECT_EQ(sum, 10);
}

TEST(ControlClient, AHangNamesTheCommunicatorsOperationAndWhoIsBehind) {
  const auto comms = thread_communicators(2);
  std::vector<float> data(3 << 18);
  const auto thrown = run(2, [&](RankControl& c) {
    Communicator& comm = *comms[static_cast<size_t>(c.rank())];
    comm.report_to(c);
    const auto abort = c.on_failure([&](const Error& why) { comm.abort(why); });
    comm.progress(6);
    comm.wait(comm.begin_all_reduce(data.data() + c.rank(), 0));
    comm.progress(7);
    if (c.rank() == 1) {
      throw Error(*c.failure(RankControl::Seconds(20)));  // it never comes
    }
    comm.all_reduce(std::span(data));
  });
  EXPECT_TRUE(
      thrown[0].starts_with("N018 all-reduce of 3.0 MiB at step 7 (operation 2) has lasted "))
      << thrown[0];
  for (const std::string& t : thrown) {
    EXPECT_NE(t.find("rank 1 is behind: rank 1 on host-1 computes at step 7 after operation 1"),
              std::string::npos)
        << t;
  }
}

TEST(ControlClient, AllRanksHangingInAStepIsNoticed) {
  const auto thrown = run(2, [&](RankControl& c) {
    c.progress(0);
    std::this_thread::sleep_for(std::chrono::milliseconds(2500));  // of unknown length
    c.check();
    c.progress(3);
    throw Error(*c.failure(RankControl::Seconds(20)));
  });
  for (const std::string& t : thrown) {
    EXPECT_TRUE(t.starts_with("N018 no rank has got further for 1")) << t;
    EXPECT_NE(t.find(" s: rank 0 on host-0 computes at step 3 after operation 0; rank 1 on host-1 "
                     "computes at step 3"),
              std::string::npos)
        << t;
  }
}

TEST(ControlClient, OneRanksErrorEndsAllAtOnce) {
  const auto start = std::chrono::steady_clock::now();
  std::atomic<int> aborted = 0;
  const auto thrown = run(3, [&](RankControl& c) {
    std::atomic<bool> mine = false;
    const auto handle = c.on_failure([&](const Error& e) {
      aborted += e.code() == "N017" ? 1 : 0;
      mine = true;
    });
    c.barrier("begun");
    if (c.rank() == 1) {
      throw Error("D012", "row 7 has no text");
    }
    try {
      c.barrier("never", RankControl::Seconds(60));
    } catch (const Error&) {
      // As long as the handle lives, the call comes.
      for (int i = 0; i < 1000 && !mine; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      }
      throw;
    }
  });
  EXPECT_EQ(thrown[1], "D012 row 7 has no text");
  EXPECT_EQ(thrown[0], "N017 rank 1 on host-1 stopped: D012 row 7 has no text");
  EXPECT_EQ(thrown[2], thrown[0]);
  EXPECT_EQ(aborted, 2);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(ControlClient, ARankThatHangsIsNamedWithinTheTimeout) {
  std::atomic<bool> over = false;
  const auto thrown = run(3, [&](RankControl& c) {
    c.barrier("begun");
    if (c.rank() == 2) {
      while (!over) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      }
      c.check();
    } else {
      const Operation operation(c, "all_reduce grads");
      try {
        c.barrier("data", RankControl::Seconds(60));
      } catch (const Error&) {
        over = true;
        throw;
      }
    }
  });
  for (const std::string& text : thrown) {
    EXPECT_NE(text.find("N018 all_reduce grads (operation 1) has lasted 1 s: rank 2 is behind: "
                        "rank 2 on host-2 computes after operation 0"),
              std::string::npos)
        << text;
  }
}

TEST(ControlClient, DisagreementIsSaidByAll) {
  const auto thrown = run(3, [](RankControl& c) {
    c.agree("configuration", {{"seed", std::to_string(c.rank() / 2)}});
  });
  for (const std::string& text : thrown) {
    EXPECT_EQ(text,
              "C150 the ranks do not agree on the configuration: seed is 0 on ranks 0, 1, 1 "
              "on rank 2");
  }
}

TEST(ControlClient, AStrangerOnThePortIsPassedBy) {
  const auto stranger = control::listen_on(0, true);  // accepts, and never says a word
  const int taken = control::port_of(stranger->get());
  const int port = free_port();
  const auto thrown = run(
      2, [](RankControl& c) { c.barrier("all"); },
      [&](JoinSettings& s) { s.ports = {taken, port}; });
  EXPECT_EQ(thrown, std::vector<std::string>(2));
}

TEST(ControlClient, GarbageDoesNotDisturbARun) {
  std::atomic<int> port = 0;
  const auto thrown = run(
      2,
      [&](RankControl& c) {
        c.barrier("begun");
        if (c.rank() == 1) {
          for (const std::string& text : {std::string("GET / HTTP/1.1\r\n\r\n"),
                                          std::string(100'000, '\xFF'), std::string(4, '\0')}) {
            control::Connector connector("127.0.0.1", port);
            std::optional<Fd> socket;
            while (!socket) {
              socket = connector.poll();
            }
            EXPECT_GT(::send(socket->get(), text.data(), text.size(), MSG_NOSIGNAL), 0);
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
          }
        }
        c.barrier("still here");
      },
      [&](JoinSettings& s) { port = s.ports[0]; });
  EXPECT_EQ(thrown, std::vector<std::string>(2));
}

std::string refusal(JoinSettings s, const std::function<void(JoinSettings&)>& change) {
  s.serve = false;
  change(s);
  try {
    join_run(s);
    return "let in";
  } catch (const Error& e) {
    return std::string(e.code().text()) + " " + e.message();
  }
}

// Honest mistakes and guesses, against a run that is under way.
TEST(ControlClient, ANewcomerIsToldWhatIsWrongAndTheRunGoesOn) {
  const int base = free_port();
  for (const std::string token : {"", "secret"}) {
    std::vector<std::string> told;
    const auto thrown = run(
        2,
        [&](RankControl& c) {
          c.barrier("begun");
          if (c.rank() == 1) {
            JoinSettings s = settings(1, 2, base);
            s.token = token;
            s.silence = 0.1;
            told.push_back(refusal(s, [](JoinSettings& j) { j.rank = 3, j.world = 4; }));
            told.push_back(refusal(s, [](JoinSettings& j) { j.token += "x"; }));
            told.push_back(refusal(s, [](JoinSettings& j) { j.attempt = -1; }));
            told.push_back(
                refusal(s, [](JoinSettings& j) { j.token = j.token.empty() ? "secret" : ""; }));
          }
          c.barrier("still here", RankControl::Seconds(60));
        },
        [&](JoinSettings& s) { s.ports = {base}, s.token = token, s.silence = 10; });
    EXPECT_EQ(thrown, std::vector<std::string>(2));
    const std::string who = fmt::format("localhost port {} refuses this process: ", base);
    ASSERT_EQ(told.size(), 4U);
    EXPECT_EQ(told[0], "C151 " + who +
                           "rank 3 on host-1 was started as one of 4 ranks, and the run that "
                           "listens here has 2");
    EXPECT_EQ(told[1].substr(0, 5), "C138 ") << told[1];
    EXPECT_EQ(told[2].substr(0, 5), "N011 ") << told[2];
    EXPECT_EQ(told[3].substr(0, 5), "C138 ") << told[3];
  }
}

// A port on which everyone is let in, told that all are here, and that the run has failed.
class FalseCoordinator {
 public:
  explicit FalseCoordinator(bool challenges)
      : listener_(std::move(*control::listen_on(0, true))), thread_([this, challenges] {
          while (!over_) {
            uint64_t from = 0;
            int failure = 0;
            auto socket = control::accept_on(listener_.get(), from, failure);
            if (!socket) {
              std::this_thread::sleep_for(std::chrono::milliseconds(1));
              continue;
            }
            control::Connection& c = open_.emplace_back(std::move(*socket));
            using control::Type;
            if (challenges) {
              c.send({Type::challenge, 0, 0, 0, "", std::string(control::kNonceBytes, 'n')});
              c.send({Type::proven, 0, 0, 0, "", std::string(control::kNonceBytes, 'p')});
            }
            for (const Type type : {Type::welcome, Type::start, Type::died}) {
              c.send({type, 0, 0, 0, "N017", "a false word"});
            }
            c.flush();
            ++asked;
          }
        }) {}
  ~FalseCoordinator() {
    over_ = true;
    thread_.join();
  }
  int port() const { return control::port_of(listener_.get()); }
  std::atomic<int> asked = 0;

 private:
  Fd listener_;
  std::atomic<bool> over_ = false;
  std::vector<control::Connection> open_;
  std::thread thread_;
};

TEST(ControlClient, WhoDoesNotKnowTheSecretIsNobodysCoordinator) {
  for (const bool challenges : {false, true}) {
    FalseCoordinator stranger(challenges);
    const int port = free_port();
    const auto thrown = run(
        2, [](RankControl& c) { c.barrier("all"); },
        [&](JoinSettings& s) {
          s.ports = {stranger.port(), port};
          s.silence = 10;
        });
    EXPECT_EQ(thrown, std::vector<std::string>(2));
    EXPECT_GE(stranger.asked, 1);
  }
}

// Eight threads that connect as fast as they can: silent, with garbage, with a member's own words.
TEST(ControlClient, AFloodDoesNotKeepANodeOut) {
  for (const std::string token : {"", "secret"}) {
    const int port = free_port();
    JoinSettings first = settings(0, 2, port);
    first.token = token;
    first.silence = 10;
    first.join_timeout = 60;
    std::atomic<bool> over = false;
    std::atomic<int> connections = 0;
    std::string thrown;
    std::thread rank_0([&] {
      try {
        join_run(first)->finish();
      } catch (const Error& e) {
        thrown = e.message();
      }
    });
    std::vector<std::thread> flood;
    for (int i = 0; i < 8; ++i) {
      flood.emplace_back([&, i] {
        std::vector<Fd> held;
        const std::string words[] = {
            "", std::string(3000, 'x'),
            control::encode(
                {control::Type::hello, 0, 0, 0, "",
                 control::encode(control::Hello{"test", token.empty() ? "" : std::string(32, 'n'),
                                                0, 1, 4, 5, "h"})}),
            control::encode({control::Type::beat, 0, 0, 0, "", ""})};
        for (int n = i; !over; ++n) {
          Fd socket = dial(port);
          if (!socket) {
            continue;
          }
          const std::string& text = words[n % 4];
          (void)!::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL);
          held.push_back(std::move(socket));
          if (held.size() > 60) {
            held.erase(held.begin());
          }
          ++connections;
        }
      });
    }
    std::this_thread::sleep_for(std::chrono::seconds(1));
    const auto begun = std::chrono::steady_clock::now();
    std::string late;
    std::thread rank_1([&] {
      try {
        JoinSettings second = first;
        second.rank = 1;
        second.serve = false;
        join_run(second)->finish();
      } catch (const Error& e) {
        late = e.message();
      }
    });
    rank_1.join();
    rank_0.join();
    over = true;
    for (std::thread& t : flood) {
      t.join();
    }
    EXPECT_EQ(thrown, "");
    EXPECT_EQ(late, "");
    EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(30));
    EXPECT_GT(connections, 2000);
  }
}

TEST(ControlClient, WhatIsWaitedForIsSaidWithinFiveSeconds) {
  std::mutex mutex;
  std::map<std::string, std::string> said;
  std::vector<std::thread> waiting;
  const auto wait = [&](const std::string& name, const std::function<void(JoinSettings&)>& change) {
    JoinSettings s = settings(1, 2, free_port());
    s.serve = false;
    s.join_timeout = 5;
    s.waits = [&, name](const std::string& text) {
      const std::lock_guard lock(mutex);
      said[name] = text;
    };
    change(s);
    waiting.emplace_back([s] { EXPECT_THROW(join_run(s), Error); });
  };
  wait("nobody", [](JoinSettings&) {});
  wait("no name", [](JoinSettings& s) { s.master = "nosuch.invalid"; });
  wait("alone", [](JoinSettings& s) { s.rank = 0, s.serve = true; });
  const auto silent = control::listen_on(0, true);
  wait("silent", [&](JoinSettings& s) { s.ports = {control::port_of(silent->get())}; });
  for (std::thread& t : waiting) {
    t.join();
  }
  EXPECT_NE(said["nobody"].find("rank 1 of 2 waits for the run's coordinator, localhost port "),
            std::string::npos);
  EXPECT_NE(said["nobody"].find("Connection refused (4 s so far, at most 5 s)"), std::string::npos)
      << said["nobody"];
  EXPECT_NE(said["no name"].find("nosuch.invalid"), std::string::npos) << said["no name"];
  EXPECT_NE(said["alone"].find("waiting for rank 1 of 2 to come: 4 s so far"), std::string::npos)
      << said["alone"];
  EXPECT_NE(said["silent"].find("no answer yet"), std::string::npos) << said["silent"];
}

TEST(ControlClient, WhatBlocksInALibraryIsSaidTooAndEndsAtOnce) {
  std::mutex mutex;
  std::vector<std::string> said;
  {
    const Notice notice("the others", [&](const std::string& text) {
      const std::lock_guard lock(mutex);
      said.push_back(text);
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(4300));
  }
  ASSERT_EQ(said.size(), 1U);
  EXPECT_TRUE(said[0].starts_with("waiting for the others: 4")) << said[0];
  const auto begun = std::chrono::steady_clock::now();
  {
    const Notice notice("nothing", [](const std::string&) { ADD_FAILURE(); });
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(2));
}

TEST(ControlClient, WhoNeverComesIsNamed) {
  const int port = free_port();
  JoinSettings s = settings(0, 2, port);
  s.join_timeout = 0.5;
  try {
    join_run(s);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), "N014");
    EXPECT_EQ(e.message(), "rank 1 of 2 did not come within 0.5 s");
  }
  s = settings(1, 2, port);
  s.join_timeout = 0.3;
  try {
    join_run(s);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), "N014");
    EXPECT_NE(e.message().find("refused"), std::string::npos) << e.message();
  }
}

}  // namespace
}  // namespace sft
