// What packages bring along for older systems does what the C library's own functions do.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdint>
#include <cstring>
#include <set>

extern "C" {
const char* compat_sigabbrev_np(int signal);
uint32_t compat_arc4random(void);
}

namespace {

TEST(GlibcCompat, SignalsHaveGlibcsNames) {
  for (int signal = 1; signal < 32; ++signal) {
    const char* const theirs = ::sigabbrev_np(signal);
    const char* const ours = compat_sigabbrev_np(signal);
    ASSERT_NE(theirs, nullptr);
    ASSERT_NE(ours, nullptr) << theirs;
    EXPECT_STREQ(ours, theirs);
  }
  EXPECT_EQ(compat_sigabbrev_np(1000), nullptr);
}

TEST(GlibcCompat, RandomNumbersDiffer) {
  std::set<uint32_t> seen;
  for (int i = 0; i < 100; ++i) {
    seen.insert(compat_arc4random());
  }
  EXPECT_GT(seen.size(), 90U);
}

}  // namespace
