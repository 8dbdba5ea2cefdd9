#include "run/conversation.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/numbers.h"
#include "core/strings.h"
#include "options/options.h"
#include "options/parser.h"

namespace sft {

namespace {

Json said(const char* role, const std::string& content) {
  return {{"role", role}, {"content", content}};
}

struct Named {
  ChatSettings& s;
  int64_t seed;

  void visit(OptionTable& v) {
    v("do_sample", &s.sampling.sample, "");
    v("temperature", &s.sampling.temperature, "").above(0);
    v("top_k", &s.sampling.top_k, "").at_least(0);
    v("top_p", &s.sampling.top_p, "").above(0).at_most(1);
    v("max_new_tokens", &s.max_new_tokens, "").at_least(1);
    v("seed", &seed, "").at_most(kMostSeed);
  }
};

}  // namespace

void ChatSettings::set(const std::string& name, const std::string& value) {
  ChatSettings changed = *this;
  Named named{changed, static_cast<int64_t>(sampling.seed)};
  OptionTable table;
  named.visit(table);
  const std::vector<std::string> words{"--" + name, value};
  parse_options(table, words, {.positionals = false, .config = false});
  changed.sampling.seed = static_cast<uint64_t>(named.seed);
  if (name == "temperature" || name == "top_k" || name == "top_p" || name == "seed") {
    changed.sampling.sample = true;  // else it would change nothing
  }
  *this = changed;
}

std::string ChatSettings::text() const {
  return fmt::format("do_sample {}, temperature {}, top_k {}, top_p {}, max_new_tokens {}, seed {}",
                     sampling.sample, sampling.temperature, sampling.top_k, sampling.top_p,
                     max_new_tokens, sampling.seed);
}

Conversation::Conversation(size_t speakers, std::optional<std::string> system)
    : speakers_(speakers), system_(std::move(system)) {}

void Conversation::set_system(const std::string& text) {
  system_ = text.empty() ? std::nullopt : std::optional(text);
}

void Conversation::ask(const std::string& question) {
  turns_.push_back({question, std::vector<std::optional<std::string>>(speakers_)});
}

void Conversation::answered(size_t speaker, const std::string& text) {
  SFT_ASSERT(!turns_.empty());
  turns_.back().answers.at(speaker) = text;
}

void Conversation::reset() { turns_.clear(); }

bool Conversation::undo() {
  if (turns_.empty()) {
    return false;
  }
  turns_.pop_back();
  return true;
}

bool Conversation::retry() {
  if (turns_.empty()) {
    return false;
  }
  turns_.back().answers.assign(speakers_, std::nullopt);
  return true;
}

Json Conversation::messages(size_t speaker) const {
  Json all = Json::array();
  if (system_) {
    all.push_back(said("system", *system_));
  }
  for (const Turn& turn : turns_) {
    all.push_back(said("user", turn.question));
    if (turn.answers.at(speaker)) {
      all.push_back(said("assistant", *turn.answers[speaker]));
    }
  }
  return all;
}

std::optional<ChatCommand> chat_command(const std::string& line) {
  if (!line.starts_with('/')) {
    return std::nullopt;
  }
  const size_t space = line.find(' ');
  return ChatCommand{line.substr(1, space == std::string::npos ? space : space - 1),
                     space == std::string::npos ? "" : std::string(trim(line.substr(space + 1)))};
}

}  // namespace sft
