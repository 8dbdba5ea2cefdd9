// What a container may use of its machine, where a limit is set: control groups of version 2, of
// version 1, or of both, nested as they come. A group's limit holds for the groups in it, so the
// tightest of a process's own group and of all above it counts. Used for the default number of
// threads and the memory that is free.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace sft {

// Where the system says which groups a process is in, and where they are mounted.
struct CgroupFiles {
  std::filesystem::path groups = "/proc/self/cgroup";
  std::filesystem::path mounts = "/proc/self/mountinfo";
};

// Processors' time: 2.5 is that of two and a half. Nothing where there is no limit.
std::optional<double> cgroup_processors(const CgroupFiles& files = {});
// The tightest limit itself, in bytes.
std::optional<int64_t> cgroup_memory_limit(const CgroupFiles& files = {});
// Bytes until the limit, counting cached files, which give way, as free.
std::optional<int64_t> cgroup_memory_left(const CgroupFiles& files = {});

}  // namespace sft
