#include "core/cgroup.h"

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include "core/strings.h"

namespace sft {

namespace {

namespace fs = std::filesystem;

// A group's folder; version 1 has a tree of them for each controller.
struct Group {
  fs::path folder;
  bool version1 = false;
};

// What a process is in: "0::/a/b" (version 2), "4:cpu,cpuacct:/a/b".
struct Membership {
  std::vector<std::string> controllers;  // empty: version 2
  std::string path;
};

// What is mounted: "36 35 98:0 /root /where rw - cgroup2 cgroup2 rw", "… - cgroup cgroup
// rw,memory".
struct Mount {
  std::string root, where, options;
  bool version1 = false;
};

std::vector<Membership> memberships(const fs::path& file) {
  std::vector<Membership> out;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) {
      continue;
    }
    const std::string controllers = line.substr(first + 1, second - first - 1);
    out.push_back({controllers.empty() ? std::vector<std::string>() : split(controllers, ','),
                   line.substr(second + 1)});
  }
  return out;
}

// Spaces and the like are written as \040 there.
std::string unescaped(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool octal =
        text[i] == '\\' && i + 3 < text.size() && text.find_first_not_of("01234567", i + 1) > i + 3;
    if (octal) {
      out +=
          static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + text[i + 3] - '0');
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::vector<Mount> mounts(const fs::path& file) {
  std::vector<Mount> out;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    const std::vector<std::string> fields = split(line, ' ');
    const auto dash = std::ranges::find(fields, "-");
    if (fields.size() < 6 || fields.end() - dash < 4 || !(dash + 1)->starts_with("cgroup")) {
      continue;
    }
    out.push_back(
        {unescaped(fields[3]), unescaped(fields[4]), *(dash + 3), *(dash + 1) == "cgroup"});
  }
  return out;
}

bool has_word(const std::string& words, const std::string& word) {
  return std::ranges::count(split(words, ','), word) > 0;
}

// A group and all above it, as far as they are mounted. A container often sees no other group than
// its own, mounted as if it were the root, while its path is that of the whole machine.
void add_groups(const Mount& mount, const std::string& path, std::vector<Group>& out) {
  std::string inside = path;
  if (mount.root != "/" && (path == mount.root || path.starts_with(mount.root + "/"))) {
    inside = path.substr(mount.root.size());
  }
  std::error_code ignored;
  fs::path below;
  out.push_back({mount.where, mount.version1});
  for (const std::string& part : split(inside, '/')) {
    if (part.empty() || part == "." || part == "..") {
      continue;
    }
    below /= part;
    if (!fs::is_directory(fs::path(mount.where) / below, ignored)) {
      return;
    }
    out.push_back({fs::path(mount.where) / below, mount.version1});
  }
}

// Of one controller.
std::vector<Group> groups_of(const CgroupFiles& files, const std::string& controller) {
  std::vector<Group> out;
  const std::vector<Mount> mounted = mounts(files.mounts);
  for (const Membership& member : memberships(files.groups)) {
    const bool version1 = !member.controllers.empty();
    if (version1 && std::ranges::count(member.controllers, controller) == 0) {
      continue;
    }
    for (const Mount& mount : mounted) {
      if (mount.version1 == version1 && (!version1 || has_word(mount.options, controller))) {
        add_groups(mount, member.path, out);
      }
    }
  }
  return out;
}

std::optional<int64_t> number_in(const fs::path& file) {
  int64_t value = 0;
  return std::ifstream(file) >> value ? std::optional(value) : std::nullopt;
}

// cpu.max: "200000 100000", microseconds of each period, or "max 100000".
std::optional<double> processors_of(const Group& group) {
  double quota = 0, period = 0;
  if (group.version1) {
    quota = static_cast<double>(number_in(group.folder / "cpu.cfs_quota_us").value_or(-1));
    period = static_cast<double>(number_in(group.folder / "cpu.cfs_period_us").value_or(0));
  } else {
    std::ifstream(group.folder / "cpu.max") >> quota >> period;
  }
  return quota > 0 && period > 0 ? std::optional(quota / period) : std::nullopt;
}

// Without a limit there is "max", or in version 1 a number that no machine has.
std::optional<int64_t> memory_limit_of(const Group& group) {
  constexpr int64_t kNoLimit = int64_t{1} << 60;
  const auto most =
      number_in(group.folder / (group.version1 ? "memory.limit_in_bytes" : "memory.max"));
  return most && *most < kNoLimit ? most : std::nullopt;
}

std::optional<int64_t> memory_left_of(const Group& group) {
  const char* const usage = group.version1 ? "memory.usage_in_bytes" : "memory.current";
  const std::string prefix = group.version1 ? "total_" : "";
  const auto most = memory_limit_of(group);
  const auto used = number_in(group.folder / usage);
  if (!most || !used) {
    return std::nullopt;
  }
  int64_t cached = 0;
  std::ifstream stat(group.folder / "memory.stat");
  std::string key;
  for (int64_t bytes = 0; stat >> key >> bytes;) {
    cached += key == prefix + "active_file" || key == prefix + "inactive_file" ? bytes : 0;
  }
  return std::max<int64_t>(0, *most - std::max<int64_t>(0, *used - cached));
}

template <class T, class Read>
std::optional<T> tightest(const std::vector<Group>& groups, Read read) {
  std::optional<T> least;
  for (const Group& group : groups) {
    if (const std::optional<T> value = read(group); value && (!least || *value < *least)) {
      least = value;
    }
  }
  return least;
}

}  // namespace

std::optional<double> cgroup_processors(const CgroupFiles& files) {
  return tightest<double>(groups_of(files, "cpu"), processors_of);
}

std::optional<int64_t> cgroup_memory_limit(const CgroupFiles& files) {
  return tightest<int64_t>(groups_of(files, "memory"), memory_limit_of);
}

std::optional<int64_t> cgroup_memory_left(const CgroupFiles& files) {
  return tightest<int64_t>(groups_of(files, "memory"), memory_left_of);
}

}  // namespace sft
