// A whole run's control plane in one thread with a made-up clock, network, disk and processes: the
// same state machines that the program drives over TCP, under delays, resets, partitions, pauses
// and crashes drawn from a seed. Used by simulation_test and by the tool control_simulation.
#pragma once

#include <cstdint>
#include <string>

namespace sft {

struct SimulationReport {
  std::string wrong;  // the invariant that does not hold; empty: all hold
  std::string story;  // what happened, with times, when it was asked for
  int ranks = 0, attempts = 0, faults = 0;
  bool succeeded = false;
  uint64_t events = 0;
  uint64_t hash = 0;  // of everything that happened, in order
};

// Runs the world of `seed` until nothing lives or an hour of its time has passed.
SimulationReport simulate(uint64_t seed, bool tell = false);

}  // namespace sft
