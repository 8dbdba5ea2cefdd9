// control_simulation FIRST [COUNT]: runs simulated worlds by their seeds. One seed tells its whole
// story; many print what was found. Exit code 1 when an invariant does not hold.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "control/simulation.h"

int main(int argc, char** argv) {
  const uint64_t first = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 0;
  const uint64_t count = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  const auto start = std::chrono::steady_clock::now();
  uint64_t wrong = 0, well = 0, events = 0, restarts = 0;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    const sft::SimulationReport r = sft::simulate(seed, count == 1);
    std::fputs(r.story.c_str(), stdout);
    events += r.events;
    well += r.succeeded ? 1 : 0;
    restarts += r.attempts > 1 ? 1 : 0;
    if (!r.wrong.empty() && ++wrong <= 20) {
      fmt::print("seed {}: {}\n", seed, r.wrong);
    }
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  fmt::print("{} worlds, {} ended well, {} with restarts, {} wrong; {} events in {:.1f} s\n", count,
             well, restarts, wrong, events, took.count());
  return wrong == 0 ? 0 : 1;
}
