// The Modelfile with which Ollama takes a GGUF file: template, system message, stop words and
// sampling. Used by the export.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "run/text_setup.h"

namespace sft {

// How a chat template writes a conversation in which user and assistant take turns: text before
// and after each content.
struct TurnShape {
  std::string begin;                      // where there is no system message
  std::string system_open, system_close;  // around the system message
  std::string user_open, user_close;      // the latter opens the answer, too
  std::string answer_close;               // where a turn follows
  std::string default_system;             // what the template says where nobody gives one
  bool has_system = true;
};

// Found by rendering with contents that can be told apart, and tried on other conversations;
// nothing for a template that writes more than that.
// `turn_end`: the token at the end of a turn, "" where there is none.
std::optional<TurnShape> turn_shape(const ChatTemplate& chat, const std::string& turn_end);

// The same in Go's template language. `bos`: what the runtime puts before a text itself.
std::string go_template(TurnShape shape, const std::string& bos);

// `adds_bos`: the runtime puts that token before a text.
std::string modelfile(const std::string& gguf_file, const TextSetup& text,
                      const std::vector<int32_t>& ends, const Json& generation_config,
                      bool adds_bos);

}  // namespace sft
