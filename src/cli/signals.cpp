#include "cli/signals.h"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <span>

#include "core/error.h"
#include "core/fd.h"

namespace sft {

namespace {

// The name of the file that is mapped at `address`, from the system's list; "" when there is none.
// Nothing but system calls, for use in a signal's handler.
std::string_view file_mapped_at(const void* address, std::span<char> name) {
  const Fd maps(::open("/proc/self/maps", O_RDONLY | O_CLOEXEC));
  const auto wanted = reinterpret_cast<uintptr_t>(address);
  uintptr_t ends[2] = {0, 0};  // "7f3a00000000-7f3a00001000 r--s 00000000 08:01 1234   /a/file"
  int which = 0;               // 0, 1: within the addresses; 2: beyond; 3: within the name
  size_t length = 0;
  char piece[4096];
  for (ssize_t got = 1; maps && (got = ::read(maps.get(), piece, sizeof piece)) > 0;) {
    for (const char c : std::span(piece, static_cast<size_t>(got))) {
      if (c == '\n') {
        if (which == 3 && ends[0] <= wanted && wanted < ends[1]) {
          return {name.data(), length};
        }
        ends[0] = ends[1] = 0, which = 0, length = 0;
      } else if (which < 2 && (c == '-' || c == ' ')) {
        ++which;
      } else if (which < 2) {
        ends[which] = ends[which] * 16 + static_cast<uintptr_t>(c <= '9' ? c - '0' : c - 'a' + 10);
      } else if (which == 3 || c == '/') {
        which = 3;
        if (length < name.size()) {
          name[length++] = c < ' ' || c == 127 ? '?' : c;
        }
      }
    }
  }
  return {};
}

constexpr Code kFileGone = "S050", kNoMemoryThere = "X012";

void say_code(const Code& code) {
  say_at_once("\n");
  say_at_once(kErrorBegins);
  say_at_once(code.text());
  say_at_once("]: ");
}

// A mapped file that was cut short, or that the disk fails to give.
void on_bus_error(int, siginfo_t* about, void*) {
  char name[1024];
  const std::string_view file = file_mapped_at(about->si_addr, name);
  say_code(kFileGone);
  say_at_once(file.empty() ? "a file that is mapped" : file);
  say_at_once(" cannot be read any more: it was made shorter, or the disk fails\n");
  ::_exit(static_cast<int>(ExitCode::io));
}

// A null pointer that a library was given instead of memory, as a rule. The signal then goes on as
// it would have.
void on_no_memory_there(int) {
  say_code(kNoMemoryThere);
  say_at_once(
      "the program touched memory that it does not have. Either a library was "
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
  struct sigaction bus{};
  bus.sa_sigaction = on_bus_error;
  bus.sa_flags = SA_SIGINFO;
  ::sigaction(SIGBUS, &bus, nullptr);
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
