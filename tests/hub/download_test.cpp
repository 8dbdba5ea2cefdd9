// Downloads when the network or the server misbehaves, and when processes meet or are killed.
#include <spawn.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <fstream>

#include "hub/fetch_range.h"
#include "hub/repository.h"
#include "hub/retry.h"
#include "hub/support.h"

namespace sft {
namespace {

using namespace sft::testing;

class HubDownload : public ::testing::Test {
 protected:
  HubDownload() {
    without_proxies();
    hub.add("models/org/name", {{"a.bin", {big, true}}, {"b.txt", {small}}});
  }
  std::string fetched(const std::string& file, const HubEnvironment& e) {
    HubRepository repository(HubKind::model, "org/name", "", e);
    return read_text(repository.fetch({file}) / file);
  }
  std::string fetched(const std::string& file) {
    return fetched(file, hub.environment(cache.path()));
  }
  // Every request for file contents goes through `change`, with its number from 1.
  void on_contents(std::function<void(int, const Request&, Reply&)> change) {
    hub.intercept = [this, change](const Request& request) -> std::optional<Reply> {
      const bool large = request.target.find("/lfs/") != std::string::npos;
      if (!large && request.target.find("/resolve/main/b") == std::string::npos &&
          request.target.find("/b.txt") == std::string::npos) {
        return std::nullopt;
      }
      Reply reply = contents(request, large ? big : small);
      change(++contents_, request, reply);
      return reply;
    };
  }
  Reply contents(const Request& request, const std::string& text) const {
    const std::string range = request.header("range");
    if (range.empty()) {
      return {.body = text};
    }
    const size_t begin = std::stoull(range.substr(6));
    const size_t end = std::stoull(range.substr(range.find('-') + 1)) + 1;
    return {.status = 206,
            .headers = {{"Content-Range", "bytes " + std::to_string(begin) + "-" +
                                              std::to_string(end - 1) + "/" +
                                              std::to_string(text.size())}},
            .body = text.substr(begin, end - begin)};
  }

  TemporaryFolder cache;
  const std::string big = noise(3'000'000), small = noise(1000, 7);
  std::atomic<int> contents_{0};
  FakeHub hub;  // last: its threads read what stands above
};

TEST_F(HubDownload, LargeFilesComeInPartsOverSeveralConnections) {
  std::atomic<int> now{0}, most{0};
  on_contents([&](int, const Request&, Reply& reply) {
    most = std::max(most.load(), ++now);
    reply.wait_ms = 40;
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    --now;
  });
  int64_t last = 0, total = 0;
  HubEnvironment e = hub.environment(cache.path());
  e.report.progress = [&](int64_t done, int64_t all) {
    EXPECT_GE(done, last);
    last = done, total = all;
  };
  EXPECT_EQ(fetched("a.bin", e), big);
  EXPECT_GT(most.load(), 2);
  EXPECT_EQ(contents_, 12);  // 3,000,000 bytes in parts of 256 KiB
  EXPECT_EQ(last, total);
  EXPECT_EQ(total, 3'000'000);
}

TEST_F(HubDownload, BrokenConnectionsGoOnWhereTheyWere) {
  on_contents([](int number, const Request&, Reply& reply) {
    if (number % 2 == 1) {
      reply.cut_after = static_cast<int64_t>(reply.body.size() / 2);
    }
  });
  EXPECT_EQ(fetched("a.bin"), big);
  EXPECT_EQ(fetched("b.txt"), small);
}

TEST_F(HubDownload, AServerThatNeverEndsAFileIsGivenUp) {
  on_contents([](int, const Request&, Reply& reply) { reply.cut_after = 0; });
  EXPECT_EQ(error_of([&] { fetched("b.txt"); }).code().text(), "S305");
  EXPECT_EQ(contents_, 5);
}

TEST_F(HubDownload, ShortAndLongBodiesAreNoticed) {
  on_contents([](int number, const Request&, Reply& reply) {
    reply.say_length = false;
    if (number == 1) {
      reply.body.resize(reply.body.size() / 3);
    } else if (number == 2) {
      reply.body += "more than there should be";
    }
  });
  EXPECT_EQ(fetched("b.txt"), small);
}

TEST_F(HubDownload, WrongContentsAreFetchedOnceMoreAndThenRefused) {
  on_contents([](int number, const Request&, Reply& reply) {
    if (number == 1) {
      reply.body[5] ^= 1;
    }
  });
  EXPECT_EQ(fetched("b.txt"), small);
  on_contents([](int, const Request&, Reply& reply) { reply.body[reply.body.size() / 2] ^= 1; });
  EXPECT_EQ(error_of([&] { fetched("a.bin"); }).code().text(), "M307");
  EXPECT_FALSE(fs::exists(cache / "models--org--name/blobs" / sha256_of(big)));
}

TEST_F(HubDownload, StormsAreWaitedOut) {
  on_contents([](int number, const Request&, Reply& reply) {
    if (number <= 3) {
      reply = number == 2 ? Reply{.status = 429, .headers = {{"Retry-After", "1"}}}
                          : Reply{.status = 503};
    }
  });
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(fetched("b.txt"), small);
  EXPECT_GE(std::chrono::steady_clock::now() - began, std::chrono::milliseconds(900));
  on_contents([](int, const Request&, Reply& reply) {
    reply = {.status = 429, .headers = {{"Retry-After", "4000"}}};
  });
  EXPECT_EQ(error_of([&] { fetched("a.bin"); }).code().text(), "S307");
  on_contents([](int, const Request&, Reply& reply) { reply = {.status = 500}; });
  EXPECT_EQ(error_of([&] { fetched("a.bin"); }).code().text(), "S308");
}

TEST_F(HubDownload, SilenceEndsAfterTheTimeout) {
  HubEnvironment e = hub.environment(cache.path());
  e.download_timeout = 1;
  e.attempts = 2;
  on_contents(
      [](int number, const Request&, Reply& reply) { reply.wait_ms = number == 1 ? 5000 : 0; });
  EXPECT_EQ(fetched("b.txt", e), small);
  on_contents([](int, const Request&, Reply& reply) { reply.wait_ms = 5000; });
  EXPECT_EQ(error_of([&] { fetched("a.bin", e); }).code().text(), "S303");
}

TEST_F(HubDownload, ServersWithoutRangesServeWholeFiles) {
  hub.ranges = false;
  EXPECT_EQ(fetched("a.bin"), big);
}

TEST_F(HubDownload, AWrongRangeIsNotTaken) {
  on_contents([&](int, const Request& request, Reply& reply) {
    if (!request.header("range").empty()) {
      reply.headers = {{"Content-Range", "bytes 7-106/3000000"}};
      reply.body = big.substr(7, 100);
    }
  });
  EXPECT_EQ(fetched("a.bin"), big);
}

TEST_F(HubDownload, ASignedAddressThatRanOutIsAskedForAgain) {
  on_contents([](int number, const Request&, Reply& reply) {
    if (number == 3) {
      reply = {.status = 403, .body = "<Error>Request has expired</Error>"};
    }
  });
  EXPECT_EQ(fetched("a.bin"), big);
}

// Fetches a.bin in a process of its own (fetch_large.cpp); returns its id.
pid_t fetch_in_child(const HubEnvironment& e) {
  std::string program = SFT_FETCH_LARGE, endpoint = e.endpoint, cache = e.hf_hub_cache;
  char* words[] = {program.data(), endpoint.data(), cache.data(), nullptr};
  pid_t child = -1;
  EXPECT_EQ(::posix_spawn(&child, program.c_str(), nullptr, nullptr, words, environ), 0);
  return child;
}

TEST_F(HubDownload, AKilledProcessIsGoneOnFrom) {
  on_contents([](int, const Request&, Reply& reply) {
    reply.piece = 64 << 10;
    reply.pause_ms = 60;
  });
  const pid_t child = fetch_in_child(hub.environment(cache.path()));
  const fs::path journal = cache / "models--org--name/blobs" / (sha256_of(big) + ".sft.ranges");
  for (int i = 0; i < 500; ++i) {
    std::error_code ignored;
    if (fs::exists(journal, ignored) && fs::file_size(journal, ignored) > 30) {
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ASSERT_TRUE(fs::exists(journal));
  EXPECT_FALSE(fs::exists(cache / "models--org--name/blobs" / sha256_of(big)));
  std::atomic<int64_t> asked{0};
  on_contents(
      [&](int, const Request&, Reply& reply) { asked += static_cast<int64_t>(reply.body.size()); });
  EXPECT_EQ(fetched("a.bin"), big);
  EXPECT_LT(asked.load(), 2'900'000);
  EXPECT_FALSE(fs::exists(journal));
}

TEST_F(HubDownload, ADamagedRestIsThrownAway) {
  const fs::path blob = cache / "models--org--name/blobs" / sha256_of(big);
  fs::create_directories(blob.parent_path());
  std::ofstream(blob.string() + ".sft.incomplete") << noise(2'000'000, 99);
  std::ofstream(blob.string() + ".sft.ranges")
      << "0 1000000.\nrubbish\n5 3.\n-4 9.\n0 99999999.\n1500000 200000";
  EXPECT_EQ(fetched("a.bin"), big);
}

// A cache may be shared with others, who could put links where a download is written.
TEST_F(HubDownload, NoLinkIsFollowed) {
  const fs::path blob = cache / "models--org--name/blobs" / sha256_of(big);
  const fs::path lock = cache / ".locks/models--org--name" / (sha256_of(big) + ".lock");
  const fs::path victim = cache / "victim";
  std::ofstream(victim) << "precious";
  const auto link = [&](const fs::path& path) {
    fs::create_directories(path.parent_path());
    fs::remove(path);
    fs::create_symlink(victim, path);
  };
  for (const char* ending : {".sft.incomplete", ".sft.ranges"}) {
    link(blob.string() + ending);
    EXPECT_EQ(error_of([&] { fetched("a.bin"); }).code().text(), "S030") << ending;
    fs::remove(blob.string() + ending);
    fs::remove(blob.string() + ".sft.incomplete");
  }
  link(lock);
  EXPECT_EQ(fetched("a.bin"), big);
  EXPECT_EQ(read_text(victim), "precious");
}

TEST_F(HubDownload, TwoProcessesFetchAFileOnce) {
  std::atomic<int64_t> served{0};
  on_contents([&](int, const Request&, Reply& reply) {
    reply.wait_ms = 30;
    served += static_cast<int64_t>(reply.body.size());
  });
  const HubEnvironment e = hub.environment(cache.path());
  const pid_t one = fetch_in_child(e), two = fetch_in_child(e);
  for (const pid_t child : {one, two}) {
    int status = -1;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(served, 3'000'000);
  EXPECT_EQ(fetched("a.bin"), big);
}

TEST_F(HubDownload, AStopEndsIt) {
  on_contents([](int, const Request&, Reply& reply) {
    reply.piece = 1000;
    reply.pause_ms = 50;
  });
  HubEnvironment e = hub.environment(cache.path());
  std::atomic<bool> stop{false};
  e.report.stopped = [&] { return stop.load(); };
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    stop = true;
  });
  EXPECT_EQ(error_of([&] { fetched("a.bin", e); }).code().text(), "X011");
  later.join();
}

TEST(HubContentRange, IsReadWithCare) {
  ByteRange range;
  int64_t total = 0;
  EXPECT_TRUE(parse_content_range("bytes 0-99/1000", range, total));
  EXPECT_EQ(range.end, 100);
  EXPECT_EQ(total, 1000);
  EXPECT_TRUE(parse_content_range("Bytes 5-5/*", range, total));
  EXPECT_EQ(total, -1);
  for (const char* bad :
       {"", "bytes", "bytes 0-99", "bytes 9-3/10", "bytes -9/10", "bytes a-b/c", "items 0-1/2",
        "bytes 0/1-2", "bytes 0-9223372036854775807/*", "bytes 0-99999999999999999999/*"}) {
    EXPECT_FALSE(parse_content_range(bad, range, total)) << bad;
  }
}

TEST(HubRetry, ReadsHowLongToWait) {
  EXPECT_EQ(wanted_wait({.status = 429, .headers = {{"retry-after", "7"}}}), 7);
  EXPECT_EQ(wanted_wait({.status = 429, .headers = {{"ratelimit", "\"api\";r=0;t=55"}}}), 55);
  EXPECT_EQ(wanted_wait({.status = 503, .headers = {{"ratelimit", "\"api\";r=0;t=55"}}}), -1);
  EXPECT_EQ(wanted_wait({.status = 429, .headers = {{"retry-after", "soon"}}}), -1);
  EXPECT_EQ(
      wanted_wait({.status = 503, .headers = {{"retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"}}}),
      0);
}

}  // namespace
}  // namespace sft
