// What the loops of tests/torture share: runs of the program as a child process, and whether what a
// run left behind is what an uninterrupted one leaves. Every folder is under one scratch folder.
#pragma once

#include <sys/resource.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/file.h"

namespace sft {

struct Settings {
  fs::path sft;      // the program
  fs::path model;    // a tiny model's folder
  fs::path scratch;  // everything is written below it
  uint64_t seed = 1;
  bool sample = false;  // a few seconds, for `make test`
};

// How a child process is started, beyond its arguments.
struct Launch {
  std::vector<std::string> before{};  // "strace", "-f", ...
  std::map<std::string, std::string> environment{};
  std::function<void()> in_child{};  // between fork and exec: limits
  int stdout_fd = -1;                // -1: to a file
};

struct Ended {
  int code = -1;    // exit code, or -1
  int signal = 0;   // that ended it, or 0
  std::string err;  // stderr
  double seconds = 0;
};

// A child process of its own group.
class Child {
 public:
  Child(const Settings& settings, const std::vector<std::string>& args, const Launch& launch = {});
  ~Child();  // kills what still runs
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  void send(int signal) const;
  // Waits at most `seconds`; false when it still runs.
  bool wait(double seconds);
  // On stderr, so far.
  std::string said() const { return fs::exists(err_) ? read_text(err_) : ""; }
  Ended end();  // waits; after 60 s it is killed and counts as hung (code -2)

 private:
  pid_t pid_ = -1;
  bool done_ = false;
  int status_ = 0;
  double began_ = 0;
  fs::path err_;
};

Ended run(const Settings& settings, const std::vector<std::string>& args,
          const Launch& launch = {});

// The processes that `parent`, sft launch, has started, by their RANK; those that have not begun
// are left out.
std::map<int, pid_t> ranks_of(pid_t parent);

// The arguments of the run that all loops use, into `out`, resuming.
std::vector<std::string> recipe(const Settings& settings, const fs::path& out);
// Writes its data.
void make_data(const Settings& settings);

// What a finished run left, without times: log and weights. "" when it did not finish.
std::string outcome_of(const fs::path& out);
// The folders checkpoint-<number> in `out` that are not whole.
std::vector<std::string> broken_checkpoints(const fs::path& out);
// Whether every line of metrics.jsonl but a half one at the end is JSON.
bool metrics_are_sound(const fs::path& out);

double now();  // seconds, monotonic

// A loop's result: prints a line, and counts what went wrong.
class Report {
 public:
  explicit Report(std::string name) : name_(std::move(name)), began_(now()) {}
  void wrong(const std::string& what);
  // Prints "kills: 1000 ...; 0 wrong; 12.3 s" and returns the number of wrongs.
  int end(const std::string& counts) const;

 private:
  std::string name_;
  double began_;
  int wrongs_ = 0;
};

// The loops; each returns how many things went wrong.
int kill_loop(const Settings& settings, int kills);
int adapter_kill_loop(const Settings& settings, int kills);  // a run that trains adapters
int rank_kill_loop(const Settings& settings, int kills);     // either of two ranks at ZeRO stage 2
int hostile_loop(const Settings& settings, int64_t messages);  // strangers on a running job's port
int reuse_loop(const Settings& settings, int strikes);         // in folders that others have used
int restart_loop(const Settings& settings, int kills);  // the same, of two ranks that are restarted
int call_loop(const Settings& settings);      // the k-th system call fails or kills; needs strace
int short_loop(const Settings& settings);     // the k-th read or write moves half of what it could
int flip_loop(const Settings& settings);      // damaged bytes of a checkpoint
int thread_loop(const Settings& settings);    // limits of processes; needs root
int resource_loop(const Settings& settings);  // full disk, limits, pipes, clock, locks, signals

}  // namespace sft
