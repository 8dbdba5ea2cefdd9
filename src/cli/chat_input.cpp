#include "cli/chat_input.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace sft {

ChatInput::ChatInput() : terminal_(::isatty(STDIN_FILENO) != 0) {
  if (terminal_) {
    sigset_t interrupt;
    ::sigemptyset(&interrupt);
    ::sigaddset(&interrupt, SIGINT);
    ::pthread_sigmask(SIG_BLOCK, &interrupt, nullptr);
    signals_ = Fd(::signalfd(-1, &interrupt, SFD_CLOEXEC | SFD_NONBLOCK));
  }
}

bool ChatInput::take_interrupt() {
  bool any = false;
  signalfd_siginfo about;
  while (signals_ && ::read(signals_.get(), &about, sizeof about) == sizeof about) {
    any = true;
  }
  return any;
}

std::optional<std::string> ChatInput::line(bool& interrupted) {
  interrupted = false;
  while (true) {
    if (const size_t end = read_.find('\n'); end != std::string::npos) {
      std::string line = read_.substr(0, end);
      read_.erase(0, end + 1);
      if (line.ends_with('\r')) {
        line.pop_back();
      }
      return line;
    }
    if (ended_) {
      if (read_.empty()) {
        return std::nullopt;
      }
      return std::exchange(read_, "");
    }
    pollfd waits[2] = {{STDIN_FILENO, POLLIN, 0}, {signals_ ? signals_.get() : -1, POLLIN, 0}};
    if (::poll(waits, 2, -1) < 0 && errno != EINTR) {
      ended_ = true;
    }
    if (take_interrupt()) {
      interrupted = true;
      read_.clear();
      return "";
    }
    if (waits[0].revents != 0) {
      char piece[4096];
      const ssize_t n = ::read(STDIN_FILENO, piece, sizeof piece);
      if (n > 0) {
        read_.append(piece, static_cast<size_t>(n));
      } else if (n == 0 || errno != EINTR) {
        ended_ = true;
      }
    }
  }
}

}  // namespace sft
