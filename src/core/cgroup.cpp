#include "core/cgroup.h"

#include <algorithm>
#include <fstream>
#include <string>

namespace sft {

namespace {

std::optional<int64_t> number_in(const std::filesystem::path& file) {
  int64_t value = 0;
  return std::ifstream(file) >> value ? std::optional(value) : std::nullopt;
}

}  // namespace

// cpu.max: "200000 100000", microseconds of each period, or "max 100000".
std::optional<double> cgroup_processors(const std::filesystem::path& folder) {
  double quota = 0, period = 0;
  if (std::ifstream(folder / "cpu.max") >> quota >> period && quota > 0 && period > 0) {
    return quota / period;
  }
  return std::nullopt;
}

std::optional<int64_t> cgroup_memory_left(const std::filesystem::path& folder) {
  const auto most = number_in(folder / "memory.max");  // or "max"
  const auto used = number_in(folder / "memory.current");
  if (!most || !used) {
    return std::nullopt;
  }
  int64_t cached = 0;
  std::ifstream stat(folder / "memory.stat");
  std::string key;
  for (int64_t bytes = 0; stat >> key >> bytes;) {
    cached += key == "active_file" || key == "inactive_file" ? bytes : 0;
  }
  return std::max<int64_t>(0, *most - std::max<int64_t>(0, *used - cached));
}

}  // namespace sft
