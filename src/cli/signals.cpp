#include "cli/signals.h"

#include <unistd.h>

#include <csignal>

#include "core/error.h"

namespace sft {

namespace {

// A mapped file that was cut short, or that the disk fails to give.
void on_bus_error(int) {
  say_at_once(
      "\nerror[S050]: a file that is mapped cannot be read: it was made shorter, or the disk "
      "fails\n");
  ::_exit(static_cast<int>(ExitCode::io));
}

// A null pointer that a library was given instead of memory, as a rule. The signal then goes on as
// it would have.
void on_no_memory_there(int) {
  say_at_once(
      "\nerror[X012]: the program touched memory that it does not have. Either a library was "
      "refused "
      "memory and did not notice (see ulimit -v, the container's limit), or this is a fault of the "
      "program: please report it with the command\n");
  std::signal(SIGSEGV, SIG_DFL);
  std::raise(SIGSEGV);
}

// Files have their final names only when they are whole, so nothing is left to be tidied.
void end_at_once(int signal) {
  say_at_once("\nstopped\n");
  ::_exit(128 + signal);
}

}  // namespace

void say_at_once(std::string_view text) {
  const auto ignored = ::write(STDERR_FILENO, text.data(), text.size());
  (void)ignored;
}

void end_at_signals() {
  std::signal(SIGPIPE, SIG_IGN);  // a reader that went away is a write error, not a death
  std::signal(SIGXFSZ, SIG_IGN);  // so is a file that may grow no further
  std::signal(SIGBUS, on_bus_error);
#ifndef SFT_SANITIZED
  std::signal(SIGSEGV, on_no_memory_there);
#endif
  for (const int signal : {SIGINT, SIGTERM}) {
    if (std::signal(signal, end_at_once) == SIG_IGN) {
      std::signal(signal, SIG_IGN);
    }
  }
}

}  // namespace sft
