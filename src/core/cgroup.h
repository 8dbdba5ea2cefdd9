// What a container may use of its machine, where a limit is set (control groups, version 2). Used
// for the default number of threads and the memory that is free.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace sft {

inline const std::filesystem::path kCgroup = "/sys/fs/cgroup";

// Processors' time: 2.5 is that of two and a half. Nothing where there is no limit.
std::optional<double> cgroup_processors(const std::filesystem::path& folder = kCgroup);
// Bytes until the limit, counting cached files, which give way, as free.
std::optional<int64_t> cgroup_memory_left(const std::filesystem::path& folder = kCgroup);

}  // namespace sft
