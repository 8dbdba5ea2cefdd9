#include "control/launch_variables.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "core/error.h"
#include "core/strings.h"

namespace sft {

namespace {

std::optional<long> whole_number(const std::string& text) {
  long out = 0;
  const auto end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, out);
  return parsed.ec == std::errc() && parsed.ptr == end ? std::optional(out) : std::nullopt;
}

}  // namespace

std::string LaunchVariables::text(const char* name) const {
  const char* value = inputs_.variable(name);
  return value == nullptr ? "" : std::string(trim(value));
}

int launch_number(const std::string& name, const std::string& text, int low, int high) {
  const auto out = whole_number(text);
  if (!out || *out < low || *out > high) {
    throw Error("C130", fmt::format("{} is \"{}\", and should be a number from {} to {}", name,
                                    text.substr(0, 100), low, high))
        .hint(fmt::format("the launcher sets it; to train in one process:  env -u {} sft …", name));
  }
  return static_cast<int>(*out);
}

std::string launch_host(const std::string& name, const std::string& text) {
  const bool brackets = text.size() >= 2 && text.front() == '[' && text.back() == ']';
  const std::string host = brackets ? text.substr(1, text.size() - 2) : text;
  const auto cannot_be = [](unsigned char c) { return c <= ' ' || c == 127 || c == '/'; };
  if (host.empty() || host.size() > 255 || std::ranges::any_of(host, cannot_be)) {
    throw Error("C130", fmt::format("{} is \"{}\", and should be a host's name or address", name,
                                    text.substr(0, 100)))
        .hint("MASTER_ADDR=<host of rank 0>, the port in MASTER_PORT");
  }
  return host;
}

std::optional<int> LaunchVariables::number(const char* name, int low, int high) const {
  return has(name) ? std::optional(launch_number(name, text(name), low, high)) : std::nullopt;
}

std::string LaunchVariables::host(const char* name) const { return launch_host(name, text(name)); }

long LaunchVariables::hint(const char* name) const {
  return std::max(0L, whole_number(text(name)).value_or(0));
}

void LaunchVariables::require(const char* source, std::initializer_list<const char*> names) const {
  std::string missing;
  for (const char* name : names) {
    if (!has(name)) {
      missing += fmt::format("{}{}", missing.empty() ? "" : ", ", name);
    }
  }
  if (!missing.empty()) {
    throw Error("C131",
                fmt::format("the environment looks like {}'s, but lacks {}", source, missing))
        .hint("start the ranks with torchrun or `sft launch`, or unset the others");
  }
}

}  // namespace sft
