// Runs the built program for tests of its command line.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "support/paths.h"

namespace sft {

// Runs SFT_BINARY with `arguments` in `folder`, standard output and error in the file `log`, no
// standard input. Returns its exit code, 128 + the signal where one ended it, 126 or 127 where it
// could not be started.
inline int run_program(const std::vector<std::string>& arguments, const std::string& folder,
                       const std::string& log) {
  const pid_t child = fork();
  if (child == 0) {
    const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    const int in = open("/dev/null", O_RDONLY);
    if (out < 0 || in < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0 ||
        dup2(in, STDIN_FILENO) < 0 || chdir(folder.c_str()) != 0) {
      _exit(126);
    }
    std::vector<char*> words = {const_cast<char*>(SFT_BINARY)};
    for (const std::string& argument : arguments) {
      words.push_back(const_cast<char*>(argument.c_str()));
    }
    words.push_back(nullptr);
    execv(words[0], words.data());
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace sft
