// Runs the built program as a user would, for end-to-end tests.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "core/file.h"
#include "support/paths.h"

namespace sft {

struct RunResult {
  int code;
  std::string out, err;
};

// `arguments` as typed in a shell, `environment` as `NAME=value` words before the command.
inline RunResult run_sft(const std::string& arguments, const std::string& environment = "") {
  const fs::path base = fs::temp_directory_path() / ("sft_run_" + std::to_string(getpid()));
  const std::string out = base.string() + ".out", err = base.string() + ".err";
  const std::string command = "env -u NO_COLOR -u CLICOLOR_FORCE -u FORCE_COLOR " + environment +
                              " '" SFT_BINARY "' " + arguments + " >" + out + " 2>" + err +
                              " </dev/null";
  const int status = std::system(command.c_str());
  RunResult result{WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_text(out),
                   read_text(err)};
  fs::remove(out);
  fs::remove(err);
  return result;
}

}  // namespace sft
