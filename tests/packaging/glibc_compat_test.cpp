// What packages bring along for older systems does what the C library's own functions do.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <link.h>

#include <cmath>
#include <cstring>
#include <set>

extern "C" {
int compat_dl_find_object(void* address, struct dl_find_object* result);
const char* compat_sigabbrev_np(int signal);
uint32_t compat_arc4random(void);
}

namespace {

void expect_same(void* address) {
  dl_find_object ours{}, theirs{};
  ASSERT_EQ(compat_dl_find_object(address, &ours), _dl_find_object(address, &theirs));
  EXPECT_EQ(ours.dlfo_eh_frame, theirs.dlfo_eh_frame);
}

TEST(GlibcCompat, FindsTheUnwindTablesThatGlibcFinds) {
  expect_same(reinterpret_cast<void*>(&expect_same));
  expect_same(::dlsym(RTLD_DEFAULT, "qsort"));
  expect_same(::dlsym(RTLD_DEFAULT, "__cxa_throw"));
}

TEST(GlibcCompat, AnAddressOfNoObjectIsNotFound) {
  int on_the_stack = 0;
  dl_find_object ours{};
  EXPECT_EQ(compat_dl_find_object(&on_the_stack, &ours), -1);
  EXPECT_EQ(compat_dl_find_object(nullptr, &ours), -1);
}

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
