// The processes of this node's ranks: starts them with torchrun's environment, passes on what
// should be seen of their output, and tells how they ended. Used by `sft launch`.
#pragma once

#include <poll.h>
#include <sys/types.h>

#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "comm/socket.h"

namespace sft {

class RankProcesses {
 public:
  struct Start {
    std::vector<std::string> argv;
    std::vector<std::pair<std::string, std::string>> variables;  // beside this process's own
    int rank = 0;
    bool shown = false;  // its output is the run's; of the others only errors are shown
  };
  using Show = std::function<void(const std::string& text)>;

  explicit RankProcesses(Show show) : show_(std::move(show)) {}
  ~RankProcesses();  // kills what still lives
  RankProcesses(const RankProcesses&) = delete;
  RankProcesses& operator=(const RankProcesses&) = delete;

  // Throws X020 when a process cannot be started.
  void start(const std::vector<Start>& all);
  void signal(int number);
  // What to watch for reading; `take_output` after each wait.
  std::vector<pollfd> watched() const;
  void take_output();
  // Ended since the last call: (number among those started, status as a shell gives it).
  std::vector<std::pair<int, int>> reap();

 private:
  struct Process {
    pid_t pid = -1;
    int rank = 0;
    bool alive = false;
    control::Fd output;
    std::string line, kept;  // `kept`: from the first line that begins an error
    bool keeps = false;
  };
  void read(Process& process);
  void show_error(Process& process);

  Show show_;
  std::vector<Process> processes_;
  std::set<std::string> shown_;  // each error once
};

}  // namespace sft
