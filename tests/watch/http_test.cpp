#include "watch/http.h"

#include <gtest/gtest.h>

namespace sft {
namespace {

TEST(Http, ARequestIsItsHead) {
  const auto parse = parse_request(
      "GET /t/events?w=5&from=1%2e5&x HTTP/1.1\r\nHost: localhost:1\r\nX-Sft:  stop \r\n\r\n");
  ASSERT_TRUE(parse.request);
  EXPECT_EQ(parse.request->method, "GET");
  EXPECT_EQ(parse.request->path, "/t/events");
  EXPECT_EQ(parse.request->query.at("from"), "1.5");
  EXPECT_EQ(parse.request->query.at("x"), "");
  EXPECT_EQ(parse.request->header("host"), "localhost:1");
  EXPECT_EQ(parse.request->header("x-sft"), "stop");
}

TEST(Http, HalfARequestIsWaitedForAndALongOneIsRefused) {
  EXPECT_EQ(parse_request("GET / HTTP/1.1\r\nHost: a\r\n").refused, 0);
  EXPECT_FALSE(parse_request("GET / HTTP/1.1\r\nHost: a\r\n").request);
  EXPECT_EQ(parse_request("GET / HTTP/1.1\r\nA: " + std::string(kMostHead, 'a')).refused, 431);
}

TEST(Http, WhatIsNoRequestIsRefused) {
  for (const char* text :
       {"\r\n\r\n", "GET /\r\n\r\n", "GET / FTP/1\r\n\r\n", "GET x HTTP/1.1\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET / HTTP/1.1\r\n: a\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "GET /\x01 HTTP/1.1\r\n\r\n"}) {
    EXPECT_EQ(parse_request(text).refused, 400) << text;
  }
}

TEST(Http, AnswersLetNothingBeLoadedFromElsewhere) {
  const std::string text = http_text({200, "text/html", "body"});
  EXPECT_NE(text.find("default-src 'none'"), std::string::npos);
  EXPECT_EQ(text.find("unsafe"), std::string::npos);
  EXPECT_NE(text.find("nosniff"), std::string::npos);
  EXPECT_TRUE(text.ends_with("\r\n\r\nbody"));
  EXPECT_TRUE(http_text({200, "text/html", "body"}, false).ends_with("\r\n\r\n"));
}

}  // namespace
}  // namespace sft
