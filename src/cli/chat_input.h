// The lines of a chat and its Ctrl-C, which ends an answer and not the program. Used by chat.cpp.
#pragma once

#include <optional>
#include <string>

#include "core/fd.h"

namespace sft {

class ChatInput {
 public:
  // From here on SIGINT is taken by this alone; to be made before any other thread. Where stdin is
  // no terminal SIGINT ends the program as ever.
  ChatInput();

  bool is_terminal() const { return terminal_; }
  // The next line without its end; nothing at the input's end. `interrupted` becomes true, and the
  // line is empty, where Ctrl-C came.
  std::optional<std::string> line(bool& interrupted);
  // Whether Ctrl-C came since it was last asked.
  bool take_interrupt();

 private:
  bool terminal_;
  Fd signals_;
  std::string read_;  // beyond the line that was given
  bool ended_ = false;
};

}  // namespace sft
