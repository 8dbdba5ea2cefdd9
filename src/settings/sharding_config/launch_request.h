// What accelerate's launcher would have started; read from its YAML, for whoever starts processes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace sft {

struct LaunchRequest {
  std::optional<int64_t> processes, machines, machine_rank, main_port;
  std::optional<std::string> main_address;
};

// How many ranks run: in all, and on this machine.
struct Ranks {
  int64_t all = 1, local = 1;
};

}  // namespace sft
