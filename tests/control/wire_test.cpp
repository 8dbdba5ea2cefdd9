#include "control/wire.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>

#include "control/meetings.h"
#include "control/secret.h"

namespace sft::control {
namespace {

TEST(Wire, MessagesComeBackHoweverTheyAreCut) {
  const Message m{Type::set, 7, -2, INT64_MAX, "key", std::string("va\0lue", 6)};
  const std::string bytes = encode(m) + encode({Type::beat, 1, 2, 3, "", "name"});
  for (size_t cut = 1; cut < bytes.size(); ++cut) {
    FrameReader reader;
    std::vector<Message> all;
    for (size_t at = 0; at < bytes.size(); at += cut) {
      reader.add(std::string_view(bytes).substr(at, cut));
      while (auto next = reader.next()) {
        all.push_back(*next);
      }
    }
    ASSERT_EQ(all.size(), 2U);
    EXPECT_EQ(all[0].type, Type::set);
    EXPECT_EQ(all[0].b, -2);
    EXPECT_EQ(all[0].c, INT64_MAX);
    EXPECT_EQ(all[0].text, m.text);
    EXPECT_EQ(all[1].text, "name");
  }
}

TEST(Wire, HostileLengthsAreRefusedBeforeTheyAreRead) {
  FrameReader reader;
  reader.add("GET / HTTP/1.1\r\n");  // "GET " as a length is a gigabyte
  EXPECT_THROW(reader.next(), Error);
  FrameReader stranger;
  std::string body = encode({Type::hello, 0, 0, 0, "", std::string(8000, 'x')});
  stranger.add(body.substr(0, 4));
  EXPECT_THROW(stranger.next(), Error) << "a stranger may not send this much";
  std::mt19937 random(1);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = encode({Type::set, 1, 2, 3, "key", "value"});
    bytes[random() % bytes.size()] = static_cast<char>(random());
    bytes[random() % bytes.size()] = static_cast<char>(random());
    FrameReader r;
    r.add(bytes);
    try {
      while (r.next()) {
      }
    } catch (const Error& e) {
      EXPECT_EQ(e.code().text(), "N022");
    }
    (void)decode_hello(bytes);
    (void)decode_facts(bytes);
  }
}

TEST(Wire, HelloKeepsWhatItSays) {
  const Hello hello{"job", "nonce", 3, 5, 8, 99, "gpu-2"};
  const auto back = decode_hello(encode(hello));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->nonce, "nonce");
  EXPECT_EQ(back->attempt, 3);
  EXPECT_EQ(back->process, 99U);
  EXPECT_EQ(back->host, "gpu-2");
  std::string other_version = encode(hello);
  ++other_version[4];
  EXPECT_FALSE(decode_hello(other_version));
  EXPECT_FALSE(decode_hello(encode(hello) + "x"));
}

TEST(Wire, SecretsAreEqualOnlyWhenTheyAre) {
  EXPECT_TRUE(same_secret("abc", "abc"));
  EXPECT_FALSE(same_secret("abc", "abd"));
  EXPECT_FALSE(same_secret("abc", "abcabc"));
  EXPECT_FALSE(same_secret("", "a"));
  EXPECT_FALSE(same_secret("a", ""));
  EXPECT_TRUE(same_secret("", ""));
}

TEST(Wire, ProofsDependOnEverySideOfTheTalk) {
  const std::string nonce(kNonceBytes, 'n');
  const std::string right = proof(Side::member, "secret", nonce, "hello");
  std::string hex;
  for (const char c : right) {
    hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  }
  EXPECT_EQ(hex, "e294d6d8db9f071f5dd10be9f6e0cad90bc366102a46b97a47d9bdd630787f82")
      << "HMAC-SHA256 as Python's hmac computes it";
  EXPECT_EQ(right, proof(Side::member, "secret", nonce, "hello"));
  EXPECT_NE(right, proof(Side::coordinator, "secret", nonce, "hello"));
  EXPECT_NE(right, proof(Side::member, "secrets", nonce, "hello"));
  EXPECT_NE(right, proof(Side::member, "secret", std::string(kNonceBytes, 'm'), "hello"));
  EXPECT_NE(right, proof(Side::member, "secret", nonce, "hellp"));
  EXPECT_NE(nonce_of("seed", 1), nonce_of("seed", 2));
  EXPECT_NE(nonce_of("seed", 1), nonce_of("other", 1));
}

TEST(Wire, RanksAreListedInRanges) {
  EXPECT_EQ(list_ranks({3}), "rank 3");
  EXPECT_EQ(list_ranks({5, 0, 1, 2}), "ranks 0-2, 5");
  EXPECT_EQ(list_ranks({1, 2}), "ranks 1, 2");
}

}  // namespace
}  // namespace sft::control
