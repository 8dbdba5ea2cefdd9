// `sft doctor`: what could go wrong on this machine, each with what to do about it. Nothing is
// changed; the hub is asked one question, `--verify` reads the whole cache.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "cli/commands.h"
#include "cli/environment.h"
#include "cli/hub.h"
#include "cli/terminal.h"
#include "core/cache_folder.h"
#include "core/cgroup.h"
#include "core/error.h"
#include "core/fd.h"
#include "core/file.h"
#include "core/installed.h"
#include "core/json.h"
#include "core/strings.h"
#include "device/cuda_library.h"
#include "device/nvml.h"
#include "hub/digest.h"
#include "hub/environment.h"
#include "hub/questions.h"
#include "options/parser.h"

namespace sft {

namespace {

struct Finding {
  std::string name, state, text, hint;  // state: ok, warn, fail
};

struct DoctorOptions {
  std::string folder = ".";
  bool verify = false;
  bool json = false;
  std::string color = "auto";

  void visit(OptionTable& v) {
    v.group("Where");
    v("folder", &folder, "Where runs will write: its disk is looked at.");
    v("verify", &verify,
      "Compare all that is in the hub's cache with its hashes; reads all of it.");
    v("json", &json, "One JSON object.");
    v("color", &color, "auto, always or never.").one_of({"auto", "always", "never"});
  }
};

Finding cards() {
  const std::string why = why_no_cuda();
  if (why.empty()) {
    const auto nvml = Nvml::open("", 64);
    const auto& halves = cuda_halves();
    const auto runs = std::ranges::find(halves, "", &CudaHalf::why_not);
    std::string text =
        fmt::format("can be used, by {}", runs == halves.end() ? "libsft_cuda.so" : runs->path);
    for (int i = 0; nvml && i < nvml->cards(); ++i) {
      if (const auto state = nvml->state(i)) {
        text += fmt::format("; card {}: {} of {} free", i,
                            human_bytes(state->memory_total - state->memory_used),
                            human_bytes(state->memory_total));
      }
    }
    return {"GPU", "ok", text, ""};
  }
  std::error_code ignored;
  const bool there = fs::exists("/dev/nvidia0", ignored);
  return {"GPU", there ? "fail" : "ok",
          there ? fmt::format("cannot be used: {}", why)
                : fmt::format("none ({}); training is on the CPU", why),
          there ? "install NVIDIA's driver of the running kernel; sft from pip takes NVIDIA's "
                  "libraries from  pip install 'sft-cpp[cuda13]'  (cuda12 for drivers before 580)"
                : ""};
}

// Those of the CUDA half that lie there and do not run, each with its reason.
void other_halves(std::vector<Finding>& findings) {
  for (const CudaHalf& half : cuda_halves()) {
    if (!half.path.empty() && !half.why_not.empty() && cuda_of_driver() != 0) {
      findings.push_back({half.file, "ok", fmt::format("does not run: {}", half.why_not), ""});
    }
  }
}

Finding library(const char* file, const char* purpose, const char* hint) {
  const bool there = !place_of(file).empty();
  return {
      file, there ? "ok" : "warn",
      there ? fmt::format("is there, {}", purpose) : fmt::format("is not beside sft, {}", purpose),
      there ? "" : hint};
}

// Room, and how fast 64 MiB reach the disk.
Finding disk(const std::string& folder) {
  struct statvfs room{};
  if (::statvfs(folder.c_str(), &room) != 0) {
    return {"disk", "fail", fmt::format("{} cannot be looked at", folder),
            "name a folder with --folder"};
  }
  const double free = static_cast<double>(room.f_bavail) * static_cast<double>(room.f_frsize);
  std::string name = (fs::path(folder) / ".sft-doctor-XXXXXX").string();
  const Fd file(::mkostemp(name.data(), O_CLOEXEC));
  if (!file) {
    return {"disk", "fail", fmt::format("nothing can be written in {}", folder),
            "run in a folder of yours, or name one with --folder"};
  }
  ::unlink(name.c_str());
  constexpr size_t kBytes = size_t{64} << 20;
  const std::string block(size_t{1} << 20, 'x');
  const auto start = std::chrono::steady_clock::now();
  size_t written = 0;
  while (written < kBytes && write_all(file.get(), block) == block.size()) {
    written += block.size();
  }
  const bool synced = written == kBytes && ::fsync(file.get()) == 0;
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double speed = static_cast<double>(kBytes) / std::max(seconds, 1e-9);
  if (!synced) {
    return {"disk", "fail", fmt::format("64 MiB do not fit in {}", folder), "make room there"};
  }
  const bool small = free < 20e9, slow = speed < 50e6;
  return {
      "disk", small || slow ? "warn" : "ok",
      fmt::format("{} free in {}, written at {}/s", human_bytes(free), folder, human_bytes(speed)),
      small  ? "a checkpoint takes 16 bytes a parameter: make room, or set --save_total_limit 2"
      : slow ? "checkpoints will be slow: write to a local disk, or save less often"
             : ""};
}

Finding limit(const char* name, __rlimit_resource resource, rlim_t least, const char* hint) {
  rlimit limits{};
  ::getrlimit(resource, &limits);
  const bool low = limits.rlim_cur != RLIM_INFINITY && limits.rlim_cur < least;
  return {name, low ? "warn" : "ok",
          limits.rlim_cur == RLIM_INFINITY ? "no limit" : fmt::format("{}", limits.rlim_cur),
          low ? hint : ""};
}

Finding memory() {
  const double free = static_cast<double>(available_memory());
  const auto limit = cgroup_memory_limit();
  return {"memory", free < 4e9 ? "warn" : "ok",
          fmt::format("{} free{}", human_bytes(free),
                      limit ? fmt::format(", limited to {} by the container",
                                          human_bytes(static_cast<double>(*limit)))
                            : ""),
          free < 4e9
              ? "end other programs, or train a smaller model; --dry_run says what a run takes"
              : ""};
}

Finding shared_memory() {
  struct statvfs room{};
  const bool there = ::statvfs("/dev/shm", &room) == 0;
  const double size = static_cast<double>(room.f_blocks) * static_cast<double>(room.f_frsize);
  const bool small = !there || size < 512e6;
  return {
      "/dev/shm", small ? "warn" : "ok", there ? human_bytes(size) : "is not there",
      small ? "several ranks of a machine meet there: start the container with --shm-size=8g" : ""};
}

Finding hub(const HubEnvironment& environment) {
  if (environment.offline) {
    return {"hub", "ok", "is not asked: HF_HUB_OFFLINE is set", ""};
  }
  try {
    const HttpClient client(environment);
    ask_commit(client, {HubKind::model, "Qwen/Qwen2.5-0.5B", "main"}, 1);
    return {"hub", "ok", fmt::format("{} answers", environment.endpoint), ""};
  } catch (const Error& e) {
    return {"hub", "warn", e.message(),
            e.hint().empty() ? "work from files here, or set HF_HUB_OFFLINE=1" : e.hint()};
  }
}

// Every blob of the cache is named by its contents: 64 digits are sha256, 40 git's.
void verify_cache(const fs::path& cache, std::vector<Finding>& findings) {
  int64_t good = 0;
  for (const fs::path& repository : paths_in(cache)) {
    for (const fs::path& blob : is_folder(repository / "blobs") ? paths_in(repository / "blobs")
                                                                : std::vector<fs::path>()) {
      const std::string name = blob.filename().string();
      const bool hash = name.find_first_not_of("0123456789abcdef") == std::string::npos &&
                        (name.size() == 64 || name.size() == 40);
      if (!hash || !is_file(blob)) {
        continue;
      }
      if ((name.size() == 64 ? sha256_of_file(blob) : git_blob_of_file(blob)) == name) {
        ++good;
      } else {
        findings.push_back(
            {"cache", "fail",
             fmt::format("{} of {} is damaged", name, repository.filename().string()),
             fmt::format("remove it, it is fetched again:  rm {}", shell_word(blob.string()))});
      }
    }
  }
  findings.push_back({"cache", "ok",
                      fmt::format("{} files in {} are what their hashes say", good, cache.string()),
                      ""});
}

}  // namespace

int run_doctor(Args args, Terminal& terminal) {
  DoctorOptions o;
  OptionTable table;
  o.visit(table);
  if (asks_for_help(args)) {
    show_usage("sft doctor [options]\n\nlooks for what could go wrong here, and says what to do",
               table, terminal);
    return 0;
  }
  parse_options(table, args, {.positionals = false, .config = false});
  const HubEnvironment environment = hub_environment(terminal, Logger(), false, nullptr);
  std::vector<Finding> findings{
      cards(),
      library("libsft_arrow.so", "parquet and arrow files are read with it",
              "build where Apache Arrow is found (make), or use jsonl"),
      library("libsft_gloo.so", "ranks on CPUs talk through it",
              "build where Gloo is found (make), or train on one CPU or on GPUs"),
      memory(),
      disk(o.folder),
      shared_memory(),
      limit("open files", RLIMIT_NOFILE, 1024, "ulimit -n 4096"),
      limit("processes", RLIMIT_NPROC, 256, "ulimit -u 4096"),
      hub(environment)};
  other_halves(findings);
  const fs::path cache = environment.hub_folder();
  if (o.verify && !cache.empty() && is_folder(cache)) {
    verify_cache(cache, findings);
  }
  bool failed = false;
  Json list = Json::array();
  for (const Finding& f : findings) {
    failed = failed || f.state == "fail";
    Json row{{"name", f.name}, {"state", f.state}, {"text", f.text}};
    if (!f.hint.empty()) {
      row["hint"] = f.hint;
    }
    list.push_back(std::move(row));
    if (!o.json) {
      terminal.print(fmt::format("{:<5} {:<16} {}", f.state, f.name, f.text));
      if (!f.hint.empty()) {
        terminal.print(fmt::format("{:<22} {}", "", f.hint));
      }
    }
  }
  if (o.json) {
    terminal.print(to_text({{"v", 1}, {"findings", list}}));
  }
  return failed ? static_cast<int>(ExitCode::failure) : 0;
}

}  // namespace sft
