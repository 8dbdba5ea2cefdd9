// The processes of this node's ranks: starts them with torchrun's environment, passes on what
// should be seen of their output, and tells how they ended. Used by `sft launch`.
#pragma once

#include <poll.h>
#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "control/socket.h"
#include "core/fd.h"

namespace sft {

class RankProcesses {
 public:
  struct Start {
    std::vector<std::string> argv;
    std::vector<std::pair<std::string, std::string>> variables;  // beside this process's own
    int rank = 0;
    bool shown = false;  // its output is the run's; of the others only errors are shown
  };

  RankProcesses() = default;
  ~RankProcesses() { end(); }
  RankProcesses(const RankProcesses&) = delete;
  RankProcesses& operator=(const RankProcesses&) = delete;

  // Throws G031 when a process cannot be started.
  void start(const std::vector<Start>& all);
  void signal(int number);
  // What to watch for reading; `take_output` after each wait.
  std::vector<pollfd> watched() const;
  void take_output();
  // Ended since the last call: (number among those started, status as a shell gives it).
  std::vector<std::pair<int, int>> reap();
  bool any_alive() const;
  void end();  // kills what still lives
  // When all have ended: the errors of ranks that are not shown, each once, in whole lines.
  std::string take_errors();
  // The shown rank ended by itself with an error, which it has said.
  bool shown_spoke() const;

 private:
  struct Process {
    pid_t pid = -1;
    int rank = 0;
    bool alive = false, shown = false;
    int status = 0;
    Fd output;
    std::string line, kept;  // `kept`: from the first line that begins an error
    bool keeps = false;
  };
  void read(Process& process);

  std::vector<Process> processes_;
  int shown_status_ = 0;
};

}  // namespace sft
