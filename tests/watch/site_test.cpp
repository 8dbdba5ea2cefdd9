#include "watch/site.h"

#include <gtest/gtest.h>

#include <fstream>

#include "core/error.h"
#include "core/json.h"
#include "support/temporary_folder.h"

namespace sft {
namespace {

class SiteTest : public testing::Test {
 protected:
  SiteTest() { append(R"({"k":"run","t":1000,"id":"r","total_steps":9,"config":{}})"); }

  void append(const std::string& line) {
    std::ofstream(folder_.path() / "metrics.jsonl", std::ios::app) << line << "\n";
  }
  Site site(std::function<std::string()> stop = {}) {
    SiteSettings settings;
    settings.token = "secret";
    settings.hosts = {"127.0.0.1", "localhost"};
    settings.now = [this] { return now_; };
    settings.stop = std::move(stop);
    Site made({folder_.path()}, settings);
    made.poll();
    return made;
  }
  static PageRequest get(const std::string& path, const std::string& host = "127.0.0.1:7") {
    return {"GET", path, {}, {{"host", host}}};
  }
  static int status(Site& site, const PageRequest& request) {
    const Site::Reply reply = site.reply(request);
    return reply.answer ? reply.answer->status : 200;
  }

  TemporaryFolder folder_{"site"};
  double now_ = 1001;
};

TEST_F(SiteTest, OnlyWhoHasTheTokenAndCallsTheServerByItsNameIsAnswered) {
  Site s = site();
  EXPECT_EQ(status(s, get("/secret/")), 200);
  EXPECT_EQ(status(s, get("/secret/", "localhost")), 200);
  for (const char* path : {"/", "/secret", "/Secret/", "/secreT/", "/secre/", "/secret2/",
                           "//secret/", "/../secret/", "/secret%2f"}) {
    EXPECT_EQ(status(s, get(path)), 403) << path;
  }
  for (const char* host : {"", "evil.example", "127.0.0.1.evil.example", "127.0.0.2", "10.0.0.1:7",
                           "localhost.evil:80"}) {
    EXPECT_EQ(status(s, get("/secret/", host)), 421) << host;
  }
}

TEST_F(SiteTest, NoPathOfARequestIsAFilesPath) {
  Site s = site();
  for (const char* name : {"../metrics.jsonl", "metrics.jsonl", "..", "%2e%2e/metrics.jsonl",
                           "/etc/passwd", "page.css/../../x", "events/", "report.html"}) {
    EXPECT_EQ(status(s, get(std::string("/secret/") + name)), 404) << name;
  }
}

TEST_F(SiteTest, OnlyItsOwnPageStopsTheRun) {
  int stopped = 0;
  Site s = site([&] {
    ++stopped;
    return std::string("stopping");
  });
  PageRequest request{"POST", "/secret/stop", {}, {{"host", "localhost:7"}, {"x-sft", "stop"}}};
  PageRequest foreign = request, plain = request, got = request;
  foreign.headers["origin"] = "http://evil.example";
  plain.headers.erase("x-sft");
  got.method = "GET";
  EXPECT_EQ(status(s, foreign), 403);
  EXPECT_EQ(status(s, plain), 403);
  EXPECT_EQ(status(s, got), 405);
  EXPECT_EQ(stopped, 0);
  request.headers["origin"] = "http://localhost:7";
  EXPECT_EQ(status(s, request), 200);
  EXPECT_EQ(stopped, 1);
  Site without = site();
  EXPECT_EQ(status(without, request), 409);
}

TEST_F(SiteTest, APageIsSentAllOnceAndThenWhatHasChanged) {
  append(R"({"k":"log","t":1001,"step":1,"loss":3})");
  Site s = site();
  OpenPage page = *s.reply(get("/secret/events")).page;
  const auto ids = [](const std::string& event) {
    std::vector<std::string> out;
    const Json data = Json::parse(event.substr(event.find("data: ") + 6));
    for (const Json& part : data["parts"]) {
      out.push_back(part["id"]);
    }
    return out;
  };
  EXPECT_TRUE(s.is_due(page));
  const std::string first = s.event(page);
  EXPECT_GT(ids(first).size(), 3u);
  EXPECT_FALSE(s.is_due(page));
  EXPECT_EQ(s.event(page), "");
  append(R"({"k":"log","t":1001,"step":2,"loss":2})");
  EXPECT_TRUE(s.poll());
  EXPECT_TRUE(s.is_due(page));
  const auto changed = ids(s.event(page));
  EXPECT_EQ(changed, (std::vector<std::string>{"status", "chart-loss"}));
  // A page that was away sees what one that stayed has seen.
  OpenPage fresh = *s.reply(get("/secret/events")).page;
  s.event(fresh);
  EXPECT_EQ(fresh.sent, page.sent);
}

TEST_F(SiteTest, TheLossIsShownFirstAndThenTheRestOnce) {
  append(R"({"k":"log","t":1001,"step":1,"loss":3,"grad_norm":1})");
  Site s = site();
  OpenPage page = *s.reply(get("/secret/events")).page;
  EXPECT_FALSE(s.is_glance_due(page));  // it has nothing yet
  s.event(page);
  append(R"({"k":"log","t":1001,"step":2,"loss":2,"grad_norm":2})");
  s.poll();
  ASSERT_TRUE(s.is_glance_due(page));
  const std::string first = s.event(page, true), rest = s.event(page);
  EXPECT_NE(first.find("\"chart-loss\""), std::string::npos);
  EXPECT_EQ(first.find("chart-grad_norm"), std::string::npos);
  EXPECT_NE(rest.find("chart-grad_norm"), std::string::npos);
  EXPECT_EQ(rest.find("id=\\\"loss"), std::string::npos);
  EXPECT_FALSE(s.is_due(page));
  OpenPage fresh = *s.reply(get("/secret/events")).page;
  s.event(fresh);
  EXPECT_EQ(fresh.sent, page.sent);
}

TEST_F(SiteTest, AServerThatBeginsAnewShowsTheSame) {
  append(R"({"k":"log","t":1001,"step":1,"loss":3})");
  Site before = site();
  append(R"({"k":"log","t":1002,"step":2,"loss":2})");
  before.poll();
  Site after = site();
  EXPECT_EQ(before.reply(get("/secret/")).answer->body, after.reply(get("/secret/")).answer->body);
}

TEST_F(SiteTest, WhatAViewAsksForIsKeptWithinBounds) {
  append(R"({"k":"log","t":1001,"step":1,"loss":3})");
  Site s = site();
  for (const char* value : {"-1", "1e9", "nan", "", "99999999999999999999", "x"}) {
    PageRequest request = get("/secret/events");
    for (const char* name : {"w", "smooth", "from", "to", "log"}) {
      request.query[name] = value;
    }
    OpenPage page = *s.reply(request).page;
    const std::string event = s.event(page);
    EXPECT_LT(event.size(), 100'000u);
    EXPECT_EQ(event.find("nan"), std::string::npos) << value;
  }
}

}  // namespace
}  // namespace sft
