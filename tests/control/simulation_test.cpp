#include "control/simulation.h"

#include <gtest/gtest.h>

#include <set>

namespace sft {
namespace {

TEST(Simulation, NoWorldWaitsForEverOrDisagrees) {
  int well = 0, restarted = 0, faults = 0, most_ranks = 0;
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    const SimulationReport r = simulate(seed);
    ASSERT_EQ(r.wrong, "") << "seed " << seed << ": control_simulation " << seed
                           << " tells what happened";
    well += r.succeeded ? 1 : 0;
    restarted += r.attempts > 1 ? 1 : 0;
    faults += r.faults;
    most_ranks = std::max(most_ranks, r.ranks);
  }
  // The worlds are neither all calm nor all lost.
  EXPECT_GT(well, 800);
  EXPECT_LT(well, 1700);
  EXPECT_GT(restarted, 300);
  EXPECT_GT(faults, 2000);
  EXPECT_GE(most_ranks, 48);
}

TEST(Simulation, ASeedIsReplayedExactly) {
  std::set<uint64_t> different;
  for (uint64_t seed = 100; seed < 120; ++seed) {
    const SimulationReport once = simulate(seed, true), again = simulate(seed, true);
    EXPECT_EQ(once.hash, again.hash);
    EXPECT_EQ(once.story, again.story);
    EXPECT_EQ(once.hash, simulate(seed, false).hash) << "telling changes the world";
    different.insert(once.hash);
  }
  EXPECT_EQ(different.size(), 20U);
}

}  // namespace
}  // namespace sft
