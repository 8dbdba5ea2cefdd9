// The loss scale's rules, with the numbers of torch.amp.GradScaler's defaults.
#include "optim/grad_scaler.h"

#include <gtest/gtest.h>

namespace sft {
namespace {

TEST(GradScaler, halves_at_an_overflow_and_doubles_after_2000_good_steps) {
  GradScaler scaler;
  EXPECT_EQ(scaler.scale(), 65536.0);
  scaler.update(false);
  scaler.update(false);
  EXPECT_EQ(scaler.scale(), 16384.0);
  for (int i = 0; i < 1999; ++i) {
    scaler.update(true);
  }
  EXPECT_EQ(scaler.scale(), 16384.0);
  GradScaler resumed;
  read_state(resumed, write_state(scaler), {"x"});
  resumed.update(true);
  EXPECT_EQ(resumed.scale(), 32768.0);
  for (int i = 0; i < 1999; ++i) {
    scaler.update(i != 0);  // an overflow starts the count again
  }
  EXPECT_EQ(scaler.scale(), 8192.0);
}

TEST(GradScaler, never_grows_beyond_float32) {
  GradScaler scaler;
  read_state(scaler, {{"scale", 0x1p127}, {"growth_tracker", 1999}}, {"x"});
  scaler.update(true);
  EXPECT_EQ(scaler.scale(), 0x1p127);
}

}  // namespace
}  // namespace sft
