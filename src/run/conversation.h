// What is said in a chat, and the words that change it. Used by `sft chat`; knows no terminal and
// no model.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "run/generator.h"

namespace sft {

struct ChatSettings {
  SamplingOptions sampling;
  int64_t max_new_tokens = 512;

  // /set NAME VALUE, by the names that `sft generate` has, with the command line's errors.
  void set(const std::string& name, const std::string& value);
  std::string text() const;  // all of them, "temperature 0.7, top_k 50, ..."
};

// One conversation, with one or two models that each have their own answers.
class Conversation {
 public:
  Conversation(size_t speakers, std::optional<std::string> system);

  void set_system(const std::string& text);  // "": none
  void ask(const std::string& question);
  void answered(size_t speaker, const std::string& text);
  void reset();
  bool undo();   // the last question and its answers; false: there is none
  bool retry();  // takes the answers to the last question away; false: there is none

  // The messages for a model, and all that was said, as a row to train on.
  Json messages(size_t speaker) const;

 private:
  struct Turn {
    std::string question;
    std::vector<std::optional<std::string>> answers;
  };
  size_t speakers_;
  std::optional<std::string> system_;
  std::vector<Turn> turns_;
};

// A line that begins with a slash: "/set top_k 5" -> "set", "top_k 5"; nothing for any other.
struct ChatCommand {
  std::string name, rest;
};
std::optional<ChatCommand> chat_command(const std::string& line);

}  // namespace sft
