// The k-th system call of a run that resumes, trains and saves fails, or kills it there, for every
// k of each kind of call, once and from then on (strace does it); or a read or write of a file
// moves less than it was asked to (short_calls.cpp).
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <csignal>
#include <span>
#include <sstream>

#include "core/json.h"
#include "torture/runs.h"

namespace sft {

namespace {

// Calls that have no file, no folder and no memory to be refused: waiting, threads, signals, time.
constexpr std::string_view kLeftOut[] = {"brk",
                                         "clone",
                                         "clone3",
                                         "execve",
                                         "exit",
                                         "exit_group",
                                         "futex",
                                         "getpid",
                                         "gettid",
                                         "kill",
                                         "arch_prctl",
                                         "rseq",
                                         "rt_sigaction",
                                         "rt_sigprocmask",
                                         "rt_sigreturn",
                                         "rt_sigtimedwait",
                                         "sched_yield",
                                         "set_robust_list",
                                         "set_tid_address",
                                         "tgkill",
                                         "uname",
                                         "munmap",
                                         "madvise",
                                         "fadvise64",
                                         "restart_syscall",
                                         "getuid",
                                         "geteuid",
                                         "getgid",
                                         "getegid"};
constexpr std::string_view kSampled[] = {"write", "fsync", "rename"};
// Which calls the kernel says to be without space, or interrupted.
constexpr std::string_view kNeedSpace[] = {"openat", "write",     "pwrite64",  "writev",
                                           "fsync",  "fdatasync", "close",     "rename",
                                           "mkdir",  "ftruncate", "fallocate", "mmap"};
constexpr std::string_view kInterrupted[] = {"openat",   "read",      "pread64",  "write",
                                             "pwrite64", "writev",    "fsync",    "close",
                                             "flock",    "fallocate", "ftruncate"};

struct Fault {
  const char* what;
  std::span<const std::string_view> calls;  // none: all
  bool sticky;  // from then on, too; interrupted for ever is waited for, for ever
  bool kills = false;
};
constexpr Fault kFaults[] = {{"error=EIO", {}, true},
                             {"error=ENOSPC", kNeedSpace, true},
                             {"error=EINTR", kInterrupted, false},
                             {"signal=KILL", {}, false, true}};

bool among(std::span<const std::string_view> names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

// Which calls of a kind are ours to look at, counted from 1.
struct Calls {
  int64_t first = 1, last = 0;
};

// How often each call is made by a run, most often by one of its threads (strace counts by thread),
// without those of the dynamic loader. `main` begins with its signals.
std::map<std::string, Calls> count_calls(const fs::path& trace) {
  std::istringstream lines(read_text(trace));
  std::map<std::string, int64_t> by_thread;
  std::map<std::string, Calls> calls;
  std::string thread, rest;
  bool in_main = false;
  while (lines >> thread && std::getline(lines, rest)) {
    const size_t at = rest.find_first_not_of(' '), end = rest.find('(');
    if (at == std::string::npos || end == std::string::npos || std::isalpha(rest[at]) == 0) {
      continue;
    }
    in_main = in_main || rest.find("rt_sigaction(SIGPIPE") != std::string::npos;
    const std::string call = rest.substr(at, end - at);
    const int64_t count = ++by_thread[thread + " " + call];
    Calls& of = calls[call];
    (in_main ? of.last : of.first) =
        std::max(in_main ? of.last : of.first, count + (in_main ? 0 : 1));
  }
  std::erase_if(calls, [](const auto& entry) {
    return among(kLeftOut, entry.first) || entry.second.last < entry.second.first;
  });
  return calls;
}

Json log_of(const fs::path& out) {
  const fs::path state = out / "trainer_state.json";
  return fs::exists(state) ? Json::parse(read_text(state)).at("log_history") : Json();
}

// The same entries, with losses and norms that differ in their last bits.
bool is_within_rounding(const Json& have, const Json& want) {
  constexpr double kRounding = 1e-5;
  if (!have.is_array() || have.size() != want.size()) {
    return false;
  }
  for (size_t i = 0; i < want.size(); ++i) {
    if (have[i].at("step") != want[i].at("step")) {
      return false;
    }
    for (const char* key : {"loss", "grad_norm", "eval_loss", "train_loss"}) {
      if (want[i].contains(key) &&
          !(std::abs(have[i].value(key, 1e9) - want[i].at(key).get<double>()) <= kRounding)) {
        return false;
      }
    }
  }
  return true;
}

// One folder in which a run was stopped three quarters through, again and again: what goes wrong
// hits resuming, two saves and the end.
class FaultyRuns {
 public:
  FaultyRuns(const Settings& settings, Report& report) : s_(settings), report_(report) {
    const fs::path reference = s_.scratch / "calls_reference";
    fs::remove_all(reference);
    fs::remove_all(base_);
    run(s_, recipe(s_, reference));
    expected_ = outcome_of(reference);
    expected_log_ = log_of(reference);
    Child child(s_, recipe(s_, base_));
    while (!fs::exists(base_ / "checkpoint-18") && !child.wait(0.001)) {
    }
    child.send(SIGKILL);
    child.end();
    for (const auto& entry : fs::directory_iterator(base_)) {
      if (entry.path().filename().string().starts_with("checkpoint-2")) {
        fs::remove_all(entry.path());
      }
    }
  }

  // A run without a fault, started like that; false when it does not end as it should.
  bool ends_well(const Launch& launch) {
    fresh();
    const Ended ended = run(s_, recipe(s_, out_), launch);
    const bool well = ended.code == 0 && outcome_of(out_) == expected_;
    if (!well) {
      report_.wrong(
          fmt::format("the run without a fault ended with {}: {}", ended.code, ended.err));
    }
    return well;
  }

  void try_fault(const std::string& fault, bool kills, const Launch& launch) {
    fresh();
    const Ended ended = run(s_, recipe(s_, out_), launch);
    ++(ended.code == 0 ? went_on_ : ended_);
    if (ended.code == -2) {
      report_.wrong(fmt::format("{}: hung", fault));
    }
    const bool message = ended.err.find("error[") != std::string::npos;
    // oneDNN does not look whether it was given memory for its code; X012 says so.
    const bool refused_memory = fault.find("mmap") != std::string::npos && message;
    if (ended.signal != 0 && !kills && !refused_memory) {
      report_.wrong(fmt::format("{}: signal {}: {}", fault, ended.signal, ended.err));
    }
    // When no write succeeds any more, nothing can be said either; the exit code still says it.
    const bool speechless =
        fault.starts_with("inject=write:") && fault.ends_with("+") && ended.code == 7;
    if (ended.code > 0 && !message && !speechless) {
      report_.wrong(fmt::format("{}: exit {} without a message: {}", fault, ended.code, ended.err));
    }
    for (const std::string& broken : broken_checkpoints(out_)) {
      report_.wrong(fmt::format("{}: {}", fault, broken));
    }
    if (ended.code != 0) {
      const Ended again = run(s_, recipe(s_, out_));
      if (again.code != 0) {
        report_.wrong(fmt::format("{}: resuming ended with {}: {}", fault, again.code, again.err));
      }
    }
    // Refused memory to run code in, oneDNN multiplies in another way, which adds in another order.
    const bool another_order = fault.starts_with("inject=mprotect:") && ended.code == 0 &&
                               is_within_rounding(log_of(out_), expected_log_);
    if (outcome_of(out_) != expected_ && !another_order) {
      report_.wrong(fmt::format("{}: log or weights differ after exit {}", fault, ended.code));
    }
  }

  std::string counts() const {
    return fmt::format("{} runs with a fault, {} of them ended by it, {} went on",
                       ended_ + went_on_, ended_, went_on_);
  }

 private:
  void fresh() const {
    fs::remove_all(out_);
    fs::copy(base_, out_, fs::copy_options::recursive);
  }

  const Settings& s_;
  Report& report_;
  fs::path base_ = s_.scratch / "calls_base", out_ = s_.scratch / "calls";
  std::string expected_;
  Json expected_log_;
  int ended_ = 0, went_on_ = 0;
};

// Every k, or the middle one.
template <class F>
void each(const Settings& s, const Calls& calls, F&& work) {
  if (s.sample) {
    return work((calls.first + calls.last) / 2);
  }
  for (int64_t k = calls.first; k <= calls.last; ++k) {
    work(k);
  }
}

Launch strace(const std::string& call, const std::string& inject) {
  return {{"strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e",
           inject}};
}

}  // namespace

int call_loop(const Settings& s) {
  Report report("failing system calls");
  FaultyRuns runs(s, report);
  const fs::path trace = s.scratch / "trace";
  if (!runs.ends_well({{"strace", "-f", "-qq", "-o", trace.string()}})) {
    return report.end("nothing");
  }
  const auto calls = count_calls(trace);
  for (const auto& [call, count] : calls) {
    if (s.sample && !among(kSampled, call)) {
      continue;
    }
    for (const Fault& fault : kFaults) {
      if (!fault.calls.empty() && !among(fault.calls, call)) {
        continue;
      }
      each(s, count, [&](int64_t k) {
        for (const char* from_then_on : {"", "+"}) {
          if (*from_then_on == 0 || (fault.sticky && !s.sample)) {
            const auto inject =
                fmt::format("inject={}:{}:when={}{}", call, fault.what, k, from_then_on);
            runs.try_fault(inject, fault.kills, strace(call, inject));
          }
        }
      });
    }
  }
  return report.end(fmt::format("{} kinds of call, {}",
                                s.sample ? std::size(kSampled) : calls.size(), runs.counts()));
}

int short_loop(const Settings& s) {
  Report report("short reads and writes");
  const fs::path library = fs::read_symlink("/proc/self/exe").parent_path() / "libshort_calls.so";
  FaultyRuns runs(s, report);
  const fs::path made = s.scratch / "made";
  if (!runs.ends_well({.environment = {{"LD_PRELOAD", library.string()},
                                       {"SHORT_CALL_COUNTS", made.string()}}})) {
    return report.end("nothing");
  }
  std::istringstream counts(read_text(made));
  std::string call;
  int64_t count = 0;
  while (counts >> call >> count) {
    each(s, {1, count}, [&](int64_t k) {
      for (const char* from_then_on : {"", "+"}) {
        const auto fault = fmt::format("{}:{}{}", call, k, from_then_on);
        runs.try_fault("short " + fault, false,
                       {.environment = {{"LD_PRELOAD", library.string()}, {"SHORT_CALL", fault}}});
      }
    });
  }
  return report.end(runs.counts());
}

}  // namespace sft
