#include "run/modelfile.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/python_number.h"

namespace sft {

namespace {

// Contents that no template has.
constexpr const char* kSystem = "sftsystem0";
constexpr const char* kFirst = "sftquestion1";
constexpr const char* kAnswer = "sftanswer2";
constexpr const char* kSecond = "sftquestion3";

Json said(const char* role, const std::string& content) {
  return {{"role", role}, {"content", content}};
}

std::optional<std::string> rendered(const ChatTemplate& chat, const Json& messages) {
  RenderOptions options;
  options.add_generation_prompt = true;
  try {
    return chat.render(messages, options).text;
  } catch (const Error&) {  // some refuse a system message
    return std::nullopt;
  }
}

// The text before, between and behind these words, each of which stands in it once, in order.
std::optional<std::vector<std::string>> around(const std::string& text,
                                               std::initializer_list<const char*> words) {
  std::vector<std::string> parts;
  size_t at = 0;
  for (const std::string word : words) {
    const size_t found = text.find(word, at);
    if (found == std::string::npos || text.find(word, found + 1) != std::string::npos) {
      return std::nullopt;
    }
    parts.push_back(text.substr(at, found - at));
    at = found + word.size();
  }
  parts.push_back(text.substr(at));
  return parts;
}

size_t common_ending(std::string_view a, std::string_view b) {
  size_t n = 0;
  while (n < a.size() && n < b.size() && a[a.size() - 1 - n] == b[b.size() - 1 - n]) {
    ++n;
  }
  return n;
}

// How much of the text between an answer and the next question stands behind the turn's end.
size_t behind_turn_end(const std::string& between, const std::string& turn_end) {
  const size_t end = turn_end.empty() ? std::string::npos : between.find(turn_end);
  if (end == std::string::npos) {
    return between.size();
  }
  const size_t next = between.find_first_not_of(" \n", end + turn_end.size());
  return next == std::string::npos ? 0 : between.size() - next;
}

std::string without_ending(const std::string& text, size_t n) {
  return text.substr(0, text.size() - n);
}

// What the shape makes of a conversation, to compare with the template.
std::string written(const TurnShape& shape, const Json& messages) {
  std::string text = shape.begin;
  for (size_t i = 0; i < messages.size(); ++i) {
    const auto role = messages[i]["role"].get<std::string>();
    const auto content = messages[i]["content"].get<std::string>();
    if (role == "system") {
      text = shape.system_open + content + shape.system_close;
    } else if (role == "user") {
      text += shape.user_open + content + shape.user_close;
    } else {
      text += content + shape.answer_close;
    }
  }
  return text;
}

bool holds(const TurnShape& shape, const ChatTemplate& chat) {
  const Json talk = Json::array({said("user", "What is 2+2?"), said("assistant", "It is 4."),
                                 said("user", "And\n\n3+3?"), said("assistant", "6, I think."),
                                 said("user", "Thank you!")});
  if (rendered(chat, talk) != written(shape, talk)) {
    return false;
  }
  if (!shape.has_system) {
    return true;
  }
  Json more = Json::array({said("system", "You are brief.\nAnswer in words.")});
  more.insert(more.end(), talk.begin(), talk.end());
  return rendered(chat, more) == written(shape, more);
}

// Go's templates begin an action with two braces.
std::string literal(const std::string& text) {
  if (text.find("{{") == std::string::npos) {
    return text;
  }
  return fmt::format("{{{{ {} }}}}", to_text(Json(text)));
}

void leave_out(std::string& text, const std::string& beginning) {
  if (!beginning.empty() && text.starts_with(beginning)) {
    text.erase(0, beginning.size());
  }
}

std::string quoted(const std::string& text) { return to_text(Json(text)); }

}  // namespace

std::optional<TurnShape> turn_shape(const ChatTemplate& chat, const std::string& turn_end) {
  const Json turns =
      Json::array({said("user", kFirst), said("assistant", kAnswer), said("user", kSecond)});
  Json with_system = Json::array({said("system", kSystem)});
  with_system.insert(with_system.end(), turns.begin(), turns.end());
  const auto plain_text = rendered(chat, turns);
  const auto plain = plain_text ? around(*plain_text, {kFirst, kAnswer, kSecond}) : std::nullopt;
  if (!plain || (*plain)[1] != (*plain)[3]) {
    return std::nullopt;
  }
  TurnShape shape;
  shape.user_close = (*plain)[1];
  const auto full_text = rendered(chat, with_system);
  const auto full =
      full_text ? around(*full_text, {kSystem, kFirst, kAnswer, kSecond}) : std::nullopt;
  size_t open =
      std::min(common_ending((*plain)[0], (*plain)[2]), behind_turn_end((*plain)[2], turn_end));
  shape.has_system = full.has_value();
  if (full) {
    // Where the template has a system message of its own, the text before the first question
    // holds it: the same text as with another one around it.
    const std::string &before = (*full)[0], &behind = (*full)[1];
    open = std::min(common_ending(behind, (*plain)[2]), open);
    const std::string& start = (*plain)[0];
    if (start.size() > before.size() + behind.size() && start.starts_with(before) &&
        start.ends_with(behind)) {
      shape.default_system =
          start.substr(before.size(), start.size() - before.size() - behind.size());
    }
    shape.system_open = before;
    shape.system_close = without_ending(behind, open);
  }
  shape.begin = without_ending((*plain)[0], open);
  shape.user_open = (*plain)[2].substr((*plain)[2].size() - open);
  shape.answer_close = without_ending((*plain)[2], open);
  return holds(shape, chat) ? std::optional(shape) : std::nullopt;
}

std::string go_template(TurnShape shape, const std::string& bos) {
  leave_out(shape.begin, bos);
  leave_out(shape.system_open, bos);
  std::string text;
  const bool own_system = !shape.default_system.empty();
  if (shape.has_system) {
    text += fmt::format("{{{{ if .System }}}}{}{{{{ .System }}}}{}", literal(shape.system_open),
                        literal(shape.system_close));
    // Its own system message stands in the Modelfile, where a conversation can replace it.
    text += shape.begin.empty() || own_system ? "{{ end }}"
                                              : "{{ else }}" + literal(shape.begin) + "{{ end }}";
  } else {
    text += literal(shape.begin);
  }
  text += "{{ range $i, $m := .Messages }}";
  text += "{{ $last := eq (len (slice $.Messages $i)) 1 }}";
  text += fmt::format("{{{{ if eq $m.Role \"user\" }}}}{}{{{{ $m.Content }}}}{}",
                      literal(shape.user_open), literal(shape.user_close));
  text += fmt::format(
      "{{{{ else if eq $m.Role \"assistant\" }}}}{{{{ $m.Content }}}}"
      "{{{{ if not $last }}}}{}{{{{ end }}}}{{{{ end }}}}{{{{ end }}}}",
      literal(shape.answer_close));
  return text;
}

std::string modelfile(const std::string& gguf_file, const TextSetup& text,
                      const std::vector<int32_t>& ends, const Json& generation_config,
                      bool adds_bos) {
  std::string file = fmt::format(
      "# ollama create NAME -f Modelfile, then: ollama run NAME\nFROM ./{}\n", gguf_file);
  const bool chats = text.chat && !text.chat_is_default;
  const auto shape =
      chats ? turn_shape(*text.chat, text.turn_end ? text.turn_end->text : "") : std::nullopt;
  const std::string go =
      shape ? go_template(*shape, adds_bos ? text.tokenizer.bos_token() : "") : "";
  if (shape && go.find("\"\"\"") == std::string::npos) {
    file += fmt::format("TEMPLATE \"\"\"{}\"\"\"\n", go);
    if (!shape->default_system.empty()) {
      file += fmt::format("SYSTEM \"\"\"{}\"\"\"\n", shape->default_system);
    }
  } else if (chats) {
    file +=
        "# No TEMPLATE: the model's chat template writes more than turns between fixed words. "
        "Ollama takes the one in the file,\n# or the nearest that it knows.\n";
  } else {
    file +=
        "# No TEMPLATE: the model has no chat template and goes on from plain text.\n"
        "TEMPLATE \"\"\"{{ .Prompt }}\"\"\"\n";
  }
  for (const int32_t id : ends) {
    file += fmt::format("PARAMETER stop {}\n", quoted(std::string(text.tokenizer.token(id))));
  }
  for (const auto& [name, key] : {std::pair{"temperature", "temperature"},
                                  {"top_p", "top_p"},
                                  {"top_k", "top_k"},
                                  {"repeat_penalty", "repetition_penalty"}}) {
    if (generation_config.contains(key) && generation_config[key].is_number()) {
      file += fmt::format("PARAMETER {} {}\n", name, to_text(generation_config[key]));
    }
  }
  return file;
}

}  // namespace sft
