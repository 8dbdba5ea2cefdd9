// Where the time of steps goes, and which losses stand out.
#include "train/step_times.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <thread>

#include "train/spikes.h"

namespace sft {
namespace {

using namespace std::chrono_literals;

class StepTimesTest : public testing::Test {
 protected:
  void step(std::chrono::milliseconds data, std::chrono::milliseconds batches,
            std::chrono::milliseconds sums, std::chrono::milliseconds update) {
    {
      const StepTimes::Span span(times_, &TimeLog::data);
      std::this_thread::sleep_for(data);
    }
    times_.batches_begin();
    std::this_thread::sleep_for(batches);
    times_.batches_end();
    times_.waited();
    std::this_thread::sleep_for(sums);
    times_.gradients_ready();
    std::this_thread::sleep_for(update);
    times_.updated();
  }
  static double sum(const TimeLog& t) {
    return t.data + t.copy + t.fwd_bwd + t.comm + t.opt + t.eval + t.save + t.host;
  }

  std::unique_ptr<Device> device_ = Device::cpu(1);
  StepTimes times_{*device_};
};

TEST_F(StepTimesTest, ActivitiesAddUpToTheWallClockFromStepToStep) {
  const auto start = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point last;
  constexpr int kSteps = 140;  // marks are forgotten twice meanwhile
  for (int i = 0; i < kSteps; ++i) {
    last = std::chrono::steady_clock::now();
    step(1ms, 2ms, 0ms, 1ms);
  }
  const TimeLog t = times_.take();
  EXPECT_EQ(t.steps, kSteps - 1);  // the last one is not over on the device, for all we know
  const double wall = std::chrono::duration<double>(last - start).count();
  EXPECT_NEAR(sum(t), wall, 0.1 * wall);
  EXPECT_GE(t.fwd_bwd, 2e-3 * (kSteps - 1));
  EXPECT_GE(t.opt, 1e-3 * (kSteps - 1));
  EXPECT_GE(t.data, 1e-3 * (kSteps - 2));
  EXPECT_EQ(times_.take().steps, 0);
}

TEST_F(StepTimesTest, CopiesAreNoPartOfTheComputation) {
  for (int i = 0; i < 3; ++i) {
    times_.copied(1e-3);
    step(0ms, 3ms, 2ms, 0ms);
  }
  const TimeLog t = times_.take();
  EXPECT_NEAR(t.copy, 2e-3, 1e-9);
  EXPECT_GE(t.fwd_bwd, 4e-3 - 1e-9);
  EXPECT_GE(t.comm, 4e-3);
}

TEST_F(StepTimesTest, StepsUnderATraceAreNotCounted) {
  step(0ms, 1ms, 0ms, 0ms);
  times_.pause();
  step(0ms, 50ms, 0ms, 0ms);
  device_->forget_marks();  // as a trace does
  times_.resume();
  step(0ms, 1ms, 0ms, 0ms);
  step(0ms, 1ms, 0ms, 0ms);
  const TimeLog t = times_.take();
  EXPECT_EQ(t.steps, 1);
  EXPECT_LT(sum(t), 40e-3);
}

TEST(SpikeWatch, ALossThatStandsOutIsASpikeAndNoiseIsNone) {
  SpikeWatch watch;
  for (int i = 0; i < 500; ++i) {
    EXPECT_FALSE(watch.look(2.0 + 0.2 * std::sin(i * 1.7))) << i;
  }
  const auto spike = watch.look(9.0);
  ASSERT_TRUE(spike);
  EXPECT_NEAR(spike->mean, 2.0, 0.1);
  EXPECT_GT(spike->deviations, 6);
  EXPECT_FALSE(watch.look(2.1));
}

TEST(SpikeWatch, AFallingLossAndOneThatIsNotFiniteAreNone) {
  SpikeWatch watch;
  for (int i = 0; i < 300; ++i) {
    EXPECT_FALSE(watch.look(8.0 * std::exp(-i / 40.0) + 1));
  }
  EXPECT_FALSE(watch.look(NAN));
  EXPECT_FALSE(watch.look(INFINITY));
  EXPECT_FALSE(watch.look(1.0));
}

TEST(SpikeWatch, ALossThatStaysUpIsNewsOnce) {
  SpikeWatch watch;
  for (int i = 0; i < 100; ++i) {
    watch.look(1.0 + 0.01 * (i % 3));
  }
  int spikes = 0;
  for (int i = 0; i < 300; ++i) {
    spikes += watch.look(3.0 + 0.01 * (i % 3)) ? 1 : 0;
  }
  EXPECT_GE(spikes, 1);
  EXPECT_LT(spikes, 30);
  EXPECT_FALSE(watch.look(3.0));
}

}  // namespace
}  // namespace sft
