// The k-th system call of a run that resumes, trains and saves fails, or kills it there, for every
// k of each kind of call, once and from then on. strace does it.
#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <sstream>

#include "torture/runs.h"

namespace sft {

namespace {

constexpr const char* kCalls[] = {"openat",     "read",      "write",    "fsync",     "close",
                                  "rename",     "unlink",    "mkdir",    "mmap",      "flock",
                                  "getdents64", "ftruncate", "unlinkat", "newfstatat"};
constexpr std::string_view kSampled[] = {"write", "fsync", "rename"};
struct Fault {
  const char* what;
  bool kills;
};
constexpr Fault kFaults[] = {
    {"error=EIO", false}, {"error=ENOSPC", false}, {"error=EINTR", false}, {"signal=KILL", true}};

// How often each call is made by a run, most often by one of its threads.
int64_t count_calls(const fs::path& trace, const std::string& call) {
  std::istringstream lines(read_text(trace));
  std::map<std::string, int64_t> by_thread;
  std::string line;
  int64_t most = 0;
  while (std::getline(lines, line)) {
    const size_t space = line.find_first_of(" ");
    const size_t at = line.find_first_not_of(" ", space);
    if (space != std::string::npos && line.compare(at, call.size() + 1, call + "(") == 0) {
      most = std::max(most, ++by_thread[line.substr(0, space)]);
    }
  }
  return most;
}

}  // namespace

int call_loop(const Settings& s) {
  Report report("failing system calls");
  const fs::path reference = s.scratch / "calls_reference", base = s.scratch / "calls_base",
                 out = s.scratch / "calls";
  run(s, recipe(s, reference));
  const std::string expected = outcome_of(reference);
  // A run stopped three quarters through: what is injected hits resuming, two saves and the end.
  auto args = recipe(s, base);
  {
    Child child(s, args);
    while (!fs::exists(base / "checkpoint-18") && !child.wait(0.001)) {
    }
    child.send(SIGKILL);
    child.end();
  }
  for (const auto& entry : fs::directory_iterator(base)) {
    if (entry.path().filename().string().starts_with("checkpoint-2")) {
      fs::remove_all(entry.path());
    }
  }
  const auto fresh = [&] {
    fs::remove_all(out);
    fs::copy(base, out, fs::copy_options::recursive);
  };
  fresh();
  const fs::path trace = s.scratch / "trace";
  const Ended traced = run(s, recipe(s, out), {{"strace", "-f", "-qq", "-o", trace.string()}});
  if (traced.code != 0 || outcome_of(out) != expected) {
    report.wrong(fmt::format("the run under strace ended with {}: {}", traced.code, traced.err));
    return report.end("nothing");
  }
  int runs = 0, failed = 0, untouched = 0;
  for (const char* call : kCalls) {
    const int64_t n = count_calls(trace, call);
    if (s.sample && std::ranges::find(kSampled, std::string_view(call)) == std::end(kSampled)) {
      continue;
    }
    for (const Fault& fault : kFaults) {
      const int64_t step = s.sample ? std::max<int64_t>(1, n) : 1;
      for (int64_t k = s.sample ? (n + 1) / 2 : 1; k <= n; k += step) {
        for (const char* sticky : {"", "+"}) {
          // Killed once is killed; interrupted for ever is waited for, for ever.
          const bool eintr = std::string(fault.what) == "error=EINTR";
          if ((fault.kills || eintr || s.sample) && *sticky != 0) {
            continue;
          }
          fresh();
          const std::string inject =
              fmt::format("inject={}:{}:when={}{}", call, fault.what, k, sticky);
          const Ended ended =
              run(s, recipe(s, out), {{"strace", "-f", "-qq", "-o", "/dev/null", "-e", inject}});
          ++runs;
          const bool loader = ended.code == 127 || ended.code == 126 || ended.code == 1;
          if (ended.code == 0) {
            ++untouched;
          } else {
            ++failed;
          }
          if (ended.code == -2) {
            report.wrong(fmt::format("{}: hung", inject));
          }
          if (ended.signal != 0 && !fault.kills) {
            report.wrong(fmt::format("{}: signal {}: {}", inject, ended.signal, ended.err));
          }
          if (ended.code > 0 && !loader && !fault.kills &&
              ended.err.find("error[") == std::string::npos) {
            report.wrong(
                fmt::format("{}: exit {} without a message: {}", inject, ended.code, ended.err));
          }
          for (const std::string& broken : broken_checkpoints(out)) {
            report.wrong(fmt::format("{}: {}", inject, broken));
          }
          if (ended.code != 0) {
            const Ended again = run(s, recipe(s, out));
            if (again.code != 0) {
              report.wrong(
                  fmt::format("{}: resuming ended with {}: {}", inject, again.code, again.err));
            }
          }
          if (outcome_of(out) != expected) {
            report.wrong(
                fmt::format("{}: log or weights differ after exit {}", inject, ended.code));
          }
        }
      }
    }
  }
  return report.end(fmt::format("{} runs with a fault, {} of them ended by it, {} went on", runs,
                                failed, untouched));
}

}  // namespace sft
