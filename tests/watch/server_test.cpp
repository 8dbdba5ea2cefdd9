// The server over real sockets: floods, slow readers, and that nothing of it grows.
#include "watch/server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "core/error.h"
#include "core/file.h"
#include "support/temporary_folder.h"

namespace sft {
namespace {

using namespace std::chrono_literals;

Fd dial(int port) {
  Fd socket(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return ::connect(socket.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0
             ? std::move(socket)
             : Fd();
}

// What comes until the other side closes, or `wanted` has come, or patience is over.
std::string hear(const Fd& socket, const std::string& wanted = "", int milliseconds = 5000) {
  std::string all;
  pollfd waiting{socket.get(), POLLIN, 0};
  while (::poll(&waiting, 1, milliseconds) > 0) {
    char bytes[65536];
    const ssize_t n = ::recv(socket.get(), bytes, sizeof bytes, 0);
    if (n <= 0) {
      break;
    }
    all.append(bytes, static_cast<size_t>(n));
    if (!wanted.empty() && all.find(wanted) != std::string::npos) {
      break;
    }
  }
  return all;
}

class ServerTest : public testing::Test {
 protected:
  ServerTest() {
    append(R"({"k":"run","t":1000,"id":"r","config":{}})");
    SiteSettings settings;
    settings.token = "secret";
    settings.hosts = {"127.0.0.1"};
    settings.now = [] { return 1001.0; };
    server_ = std::make_unique<WatchServer>("127.0.0.1", 0, settings,
                                            std::vector<fs::path>{folder_.path()});
    thread_ = std::thread([this] { server_->work(); });
  }
  ~ServerTest() override {
    server_->end();
    thread_.join();
  }
  void append(const std::string& line) {
    std::ofstream(folder_.path() / "metrics.jsonl", std::ios::app) << line << "\n";
  }
  Fd ask(const std::string& target) {
    Fd socket = dial(server_->port());
    const std::string text = "GET " + target + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    EXPECT_EQ(::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
    return socket;
  }

  TemporaryFolder folder_{"server"};
  std::unique_ptr<WatchServer> server_;
  std::thread thread_;
};

TEST_F(ServerTest, ALineThatIsAppendedIsSentToOpenPages) {
  const Fd page = ask("/secret/events");
  hear(page, "\n\n");
  append(R"({"k":"log","t":1001,"step":7,"loss":3})");
  EXPECT_NE(hear(page, "chart-loss").find("chart-loss"), std::string::npos);
}

TEST_F(ServerTest, TooManyOpenPagesAreToldToComeLater) {
  std::vector<Fd> pages;
  for (size_t i = 0; i < WatchServer::kMostPages; ++i) {
    pages.push_back(ask("/secret/events"));
    ASSERT_NE(hear(pages.back(), "event-stream").find("200 OK"), std::string::npos) << i;
  }
  const std::string answer = hear(ask("/secret/events"));
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 503")) << answer;
  EXPECT_NE(answer.find("Retry-After"), std::string::npos);
  pages.clear();
  for (int i = 0; i < 100; ++i) {  // once they are gone there is room again
    if (hear(ask("/secret/events"), "event-stream").find("200 OK") != std::string::npos) {
      return;
    }
    std::this_thread::sleep_for(20ms);
  }
  FAIL() << "the places of pages that were closed are not free again";
}

TEST_F(ServerTest, AFloodOfConnectionsTakesNoMoreDescriptorsThanAllowed) {
  const auto open = [] { return paths_in("/proc/self/fd").size(); };
  const size_t before = open();
  std::vector<Fd> silent;
  for (int i = 0; i < 300; ++i) {
    Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(server_->port()));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::connect(socket.get(), reinterpret_cast<sockaddr*>(&to), sizeof to);
    silent.push_back(std::move(socket));
  }
  std::this_thread::sleep_for(200ms);
  EXPECT_LE(open(), before + 300 + WatchServer::kMostConnections + 2);
  silent.clear();
  EXPECT_NE(hear(ask("/secret/")).find("200 OK"), std::string::npos);
}

TEST_F(ServerTest, WhoSendsNothingIsClosed) {
  const Fd silent = dial(server_->port());
  ASSERT_TRUE(silent);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(hear(silent, "", 20000), "");
  EXPECT_LT(std::chrono::steady_clock::now() - start, 10s);
}

TEST_F(ServerTest, WhoReadsNothingHoldsUpNobody) {
  const Fd slow = ask("/secret/events");
  for (int i = 1; i <= 300; ++i) {
    append(R"({"k":"log","t":1001,"step":)" + std::to_string(i) + R"(,"loss":)" +
           std::to_string(i % 7) + "}");
  }
  const Fd other = ask("/secret/events");
  EXPECT_NE(hear(other, "step 300").find("event-stream"), std::string::npos);
}

TEST_F(ServerTest, APortThatIsTakenIsSaidAtOnce) {
  try {
    WatchServer second("127.0.0.1", server_->port(), {}, {});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code("C186"));
    EXPECT_EQ(e.exit_code(), ExitCode::usage);
  }
}

}  // namespace
}  // namespace sft
