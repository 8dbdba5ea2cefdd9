#include "cli/rank_processes.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <set>
#include <utility>

#include "cli/environment.h"
#include "control/codes.h"
#include "core/error_codes.h"

namespace sft {

namespace {

constexpr size_t kMaxKept = 65536;

std::vector<std::string> environment_with(
    const std::vector<std::pair<std::string, std::string>>& more) {
  std::vector<std::string> all;
  const Environment environment = read_environment();
  for (const auto& [name, own] : environment.all()) {
    bool replaced = false;
    for (const auto& [key, value] : more) {
      replaced = replaced || key == name;
    }
    // What a scheduler said to the launcher is not meant for the ranks.
    if (!replaced && !name.starts_with("PET_")) {
      all.push_back(name + "=" + own);
    }
  }
  for (const auto& [key, value] : more) {
    all.push_back(key + "=" + value);
  }
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (std::string& text : texts) {
    out.push_back(text.data());
  }
  out.push_back(nullptr);
  return out;
}

Error refused(int rank, int failure) {
  return Error("G031", fmt::format("the system does not start a process for rank {}: {}", rank,
                                   std::strerror(failure)))
      .hint(
          "raise the limit (ulimit -u and -n, the container's pids.max), or ask for fewer ranks:  "
          "--nproc_per_node 1");
}

}  // namespace

void RankProcesses::end() {
  signal(SIGKILL);
  for (Process& p : processes_) {
    if (p.alive) {
      ::waitpid(p.pid, nullptr, 0);
      p.alive = false;
    }
  }
}

void RankProcesses::start(const std::vector<Start>& all) {
  processes_.clear();
  shown_status_ = 0;
  for (const Start& s : all) {
    Process& process = processes_.emplace_back();
    process.rank = s.rank;
    process.shown = s.shown;
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&how);
    Fd write_end;
    if (!s.shown) {
      std::array<int, 2> ends{};
      if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        throw refused(s.rank, errno);
      }
      process.output = Fd(ends[0]);
      write_end = Fd(ends[1]);
      ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
      posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
      posix_spawn_file_actions_adddup2(&files, ends[1], STDERR_FILENO);
    }
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    // Its own group: a Ctrl-C at the terminal reaches the launcher, which passes it on once.
    sigset_t none, usual;
    sigemptyset(&none);
    sigemptyset(&usual);
    for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD, SIGPIPE}) {
      sigaddset(&usual, number);
    }
    posix_spawnattr_setpgroup(&how, 0);
    posix_spawnattr_setsigmask(&how, &none);
    posix_spawnattr_setsigdefault(&how, &usual);
    posix_spawnattr_setflags(
        &how, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    std::vector<std::string> words = s.argv, variables = environment_with(s.variables);
    const int failure = ::posix_spawn(&process.pid, "/proc/self/exe", &files, &how,
                                      pointers(words).data(), pointers(variables).data());
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&how);
    if (failure != 0) {
      throw refused(s.rank, failure);
    }
    process.alive = true;
  }
}

bool RankProcesses::any_alive() const {
  return std::ranges::any_of(processes_, [](const Process& p) { return p.alive; });
}

void RankProcesses::signal(int number) {
  for (const Process& p : processes_) {
    if (p.alive) {
      ::kill(p.pid, number);
    }
  }
}

std::vector<pollfd> RankProcesses::watched() const {
  std::vector<pollfd> all;
  for (const Process& p : processes_) {
    if (p.output) {
      all.push_back({p.output.get(), POLLIN, 0});
    }
  }
  return all;
}

void RankProcesses::take_output() {
  for (Process& p : processes_) {
    if (p.output) {
      read(p);
    }
  }
}

void RankProcesses::read(Process& p) {
  std::array<char, 4096> buffer{};
  while (true) {
    const ssize_t got = ::read(p.output.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      if (got == 0) {
        p.output.reset();
      }
      return;
    }
    for (ssize_t i = 0; i < got; ++i) {
      const char c = buffer[static_cast<size_t>(i)];
      if (c != '\n') {
        p.line += p.line.size() < 4096 ? std::string(1, c) : "";
        continue;
      }
      p.keeps = p.keeps || p.line.find(kErrorBegins) != std::string::npos;
      if (p.keeps && p.kept.size() < kMaxKept) {
        p.kept += p.line + "\n";
      }
      p.line.clear();
    }
  }
}

// What made ranks end by themselves. That its neighbours have lost one they all say alike: the
// shown rank says it aloud, or one of those here; what ended the shown rank in the same way, it has
// said.
std::string RankProcesses::take_errors() {
  std::set<std::string> all;
  std::string said, lost;
  for (Process& p : processes_) {
    const std::string text = std::exchange(p.kept, {});
    const bool same = shown_spoke() && p.status == shown_status_;
    if (text.empty() || same) {
      continue;
    }
    const std::string line = fmt::format("[rank {}] {}", p.rank, text);
    const CodeRow* row = find_shown(text);
    if (row != nullptr && control::is_about_others(row->code)) {
      lost = lost.empty() ? line : lost;
    } else if (all.insert(text).second) {
      said += line;
    }
  }
  return said.empty() && !shown_spoke() ? lost : said;
}

bool RankProcesses::shown_spoke() const {
  return shown_status_ > 0 &&
         (shown_status_ < 128 || shown_status_ == static_cast<int>(ExitCode::restart));
}

std::vector<std::pair<int, int>> RankProcesses::reap() {
  std::vector<std::pair<int, int>> ended;
  for (size_t i = 0; i < processes_.size(); ++i) {
    Process& p = processes_[i];
    int status = 0;
    if (!p.alive || ::waitpid(p.pid, &status, WNOHANG) != p.pid) {
      continue;
    }
    p.alive = false;
    if (p.output) {
      read(p);
    }
    p.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    shown_status_ = p.shown ? p.status : shown_status_;
    ended.emplace_back(static_cast<int>(i), p.status);
  }
  return ended;
}

}  // namespace sft
