// `sft env`: versions, CPU, memory, GPUs and folders, for bug reports. `--json` for programs.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include "cli/commands.h"
#include "cli/environment.h"
#include "cli/terminal.h"
#include "cli/version.h"
#include "core/cgroup.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/strings.h"
#include "core/thread_pool.h"
#include "device/cuda_library.h"
#include "hub/environment.h"

namespace sft {
namespace {

std::string slurp(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// The value of the first line "key : value" in a /proc file.
std::string field(const std::string& text, std::string_view key) {
  for (const std::string& line : split(text, '\n')) {
    const size_t colon = line.find(':');
    if (colon != std::string::npos && trim(std::string_view(line).substr(0, colon)) == key) {
      return std::string(trim(std::string_view(line).substr(colon + 1)));
    }
  }
  return "";
}

Json cpu_features(const std::string& cpuinfo) {
  const std::string flags = " " + field(cpuinfo, "flags") + " " + field(cpuinfo, "Features") + " ";
  Json out = Json::array();
  for (const char* name : {"sse4_2", "f16c", "fma", "avx", "avx2", "avx512f", "avx512_vnni",
                           "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16"}) {
    if (flags.find(fmt::format(" {} ", name)) != std::string::npos) {
      out.push_back(name);
    }
  }
  return out;
}

Json cpu() {
  const std::string info = slurp("/proc/cpuinfo");
  return {{"model", field(info, "model name")},
          {"logical_cores", std::thread::hardware_concurrency()},
          {"threads_used", default_threads()},
          {"features", cpu_features(info)}};
}

Json memory() {
  const std::string info = slurp("/proc/meminfo");
  const auto kib = [&](const char* key) { return std::atoll(field(info, key).c_str()) * 1024; };
  const auto limit = cgroup_memory_limit();
  Json out{{"total_bytes", kib("MemTotal")}, {"available_bytes", available_memory()}};
  out["limit_bytes"] = limit ? Json(*limit) : Json();
  return out;
}

// Why the GPUs that the system shows are not used, if they are not.
std::string why_not_used() {
  const std::string reason = why_no_cuda();
  return reason.empty() ? "" : fmt::format(" (not used: {})", reason);
}

Json gpus() {
  Json list = Json::array();
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/proc/driver/nvidia/gpus", ignored)) {
    list.push_back(field(slurp(entry.path() / "information"), "Model"));
  }
  if (list.empty()) {
    for (int i = 0; fs::exists(fmt::format("/dev/nvidia{}", i), ignored); ++i) {
      list.push_back(fmt::format("/dev/nvidia{}", i));
    }
  }
  return list;
}

Json libraries() {
  Json out;
  for (const LibraryVersion& library : library_versions()) {
    out[library.name] = library.version;
  }
  return out;
}

// Which library of the CUDA half runs, and why the others do not.
Json cuda_libraries() {
  Json list = Json::array();
  for (const CudaHalf& half : cuda_halves()) {
    if (!half.path.empty()) {
      list.push_back({{"file", half.file}, {"path", half.path}, {"why_not", half.why_not}});
    }
  }
  return list;
}

std::string hub_cache() { return HubEnvironment::read(read_environment()).hub_folder().string(); }

Json collect() {
  utsname system{};
  uname(&system);
  std::error_code ignored;
  const std::string cache = hub_cache();
  return {
      {"v", 1},
      {"sft", program_version()},
      {"commit", program_commit()},
      {"compiler", fmt::format("{} ({})", __VERSION__, SFT_BUILD_TYPE)},
      {"system", fmt::format("{} {} {}", system.sysname, system.release, system.machine)},
      {"cpu", cpu()},
      {"memory", memory()},
      {"gpus", gpus()},
      {"nvidia_driver", std::string(trim(split(slurp("/proc/driver/nvidia/version"), '\n')[0]))},
      {"cuda", {{"driver_runs", cuda_of_driver()}, {"libraries", cuda_libraries()}}},
      {"libraries", libraries()},
      {"hub_cache", {{"path", cache}, {"exists", fs::is_directory(cache, ignored)}}}};
}

std::string words(const Json& list) {
  return fmt::format("{}", fmt::join(list.get<std::vector<std::string>>(), ", "));
}

void print_text(const Json& e, Terminal& terminal) {
  const auto row = [&](std::string_view name, const std::string& value) {
    terminal.print(fmt::format("{:<12} {}", name, value));
  };
  row("sft", fmt::format("{} ({})", e["sft"].get<std::string>(),
                         program_commit().empty() ? "commit not known" : program_commit()));
  row("compiler", e["compiler"].get<std::string>());
  row("system", e["system"].get<std::string>());
  row("cpu", fmt::format("{}, {} logical cores, {} threads used by default",
                         e["cpu"]["model"].get<std::string>(), e["cpu"]["logical_cores"].get<int>(),
                         e["cpu"]["threads_used"].get<int>()));
  row("features", words(e["cpu"]["features"]));
  const Json& limit = e["memory"]["limit_bytes"];
  row("memory",
      fmt::format(
          "{}, {} free{}", human_bytes(e["memory"]["total_bytes"].get<double>()),
          human_bytes(e["memory"]["available_bytes"].get<double>()),
          limit.is_null() ? "" : fmt::format(", limited to {}", human_bytes(limit.get<double>()))));
  row("gpus", e["gpus"].empty() ? "none" : words(e["gpus"]) + why_not_used());
  for (const Json& half : e["cuda"]["libraries"]) {
    const std::string why_not = half["why_not"].get<std::string>();
    row("cuda", fmt::format("{} {}", half["path"].get<std::string>(),
                            why_not.empty() ? "runs" : fmt::format("does not run: {}", why_not)));
  }
  std::string libraries;
  for (const auto& [name, version] : e["libraries"].items()) {
    libraries +=
        fmt::format("{}{} {}", libraries.empty() ? "" : ", ", name, version.get<std::string>());
  }
  row("libraries", libraries);
  row("hub cache", fmt::format("{}{}", e["hub_cache"]["path"].get<std::string>(),
                               e["hub_cache"]["exists"].get<bool>() ? "" : " (does not exist)"));
}

}  // namespace

int run_env(Args args, Terminal& terminal) {
  bool json = false;
  for (size_t i = 0; i < args.size(); ++i) {
    if (args[i] == "--json") {
      json = true;
    } else if (args[i] == "--color") {
      ++i;
    } else if (args[i] == "-h" || args[i] == "--help") {
      terminal.print("sft env [--json]\n\nPrints versions, CPU, memory, GPUs and libraries.");
      return 0;
    } else if (!args[i].starts_with("--color=")) {
      throw Error("C001", fmt::format("sft env has no option {}", args[i])).hint("sft env --json");
    }
  }
  const Json found = collect();
  if (json) {
    terminal.print(to_text(found));
  } else {
    print_text(found, terminal);
  }
  return 0;
}

}  // namespace sft
