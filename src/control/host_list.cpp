// Slurm's lists: "gpu-[01-03,7]" of hosts, "8(x2),4" of tasks.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "control/launch_variables.h"
#include "core/error.h"

namespace sft {

namespace {

constexpr size_t kMaxHosts = 65536;

}  // namespace

int slurm_tasks(const std::string& text, int node) {
  size_t at = 0;
  while (at < text.size()) {
    char* end = nullptr;
    const long tasks = std::strtol(text.c_str() + at, &end, 10);
    long times = 1;
    if (*end == '(' && end[1] == 'x') {
      times = std::strtol(end + 2, &end, 10);
      end += *end == ')' ? 1 : 0;
    }
    if (tasks < 1 || tasks > kMaxWorld || times < 1 || (*end != ',' && *end != '\0')) {
      break;
    }
    if (node < times) {
      return static_cast<int>(tasks);
    }
    node -= static_cast<int>(std::min<long>(times, kMaxWorld));
    at = static_cast<size_t>(end - text.c_str()) + 1;
  }
  throw Error("C130", fmt::format("SLURM_TASKS_PER_NODE is \"{}\", which says nothing of node {}",
                                  text, node));
}

std::vector<std::string> expand_hosts(const std::string& list) {
  const auto malformed = [&] {
    return Error("C130", fmt::format("the list of hosts \"{}\" cannot be read", list));
  };
  std::vector<std::string> hosts;
  size_t at = 0;
  while (at < list.size()) {
    size_t end = at, depth = 0;
    while (end < list.size() && (list[end] != ',' || depth > 0)) {
      depth += list[end] == '[' ? 1 : 0;
      depth -= list[end] == ']' && depth > 0 ? 1 : 0;
      ++end;
    }
    std::vector<std::string> names = {""};
    for (size_t i = at; i < end; ++i) {
      if (list[i] != '[') {
        for (std::string& name : names) {
          name += list[i];
        }
        continue;
      }
      const size_t close = list.find(']', i);
      if (close == std::string::npos || close >= end) {
        throw malformed();
      }
      std::vector<std::string> wider;
      size_t from = i + 1;
      while (from < close) {
        const size_t comma = std::min(list.find(',', from), close);
        const std::string part = list.substr(from, comma - from);
        from = comma + 1;
        const size_t dash = part.find('-');
        const std::string low = part.substr(0, dash);
        const std::string high = dash == std::string::npos ? low : part.substr(dash + 1);
        const auto digits = [](const std::string& s) {
          return !s.empty() && s.size() < 9 &&
                 s.find_first_not_of("0123456789") == std::string::npos;
        };
        if (!digits(low) || !digits(high)) {
          throw malformed();
        }
        const int last = std::stoi(high);
        for (int n = std::stoi(low); n <= last; ++n) {
          for (const std::string& name : names) {
            wider.push_back(fmt::format("{}{:0{}}", name, n, low.size()));
          }
          if (wider.size() + hosts.size() > kMaxHosts) {
            throw malformed();
          }
        }
      }
      names = std::move(wider);
      i = close;
    }
    hosts.insert(hosts.end(), names.begin(), names.end());
    at = end + 1;
  }
  if (hosts.empty() || hosts[0].empty()) {
    throw malformed();
  }
  return hosts;
}

}  // namespace sft
