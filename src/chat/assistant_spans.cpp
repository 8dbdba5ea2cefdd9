// Finds the assistant turns in a rendered chat by comparing renderings of its prefixes.
#include <algorithm>

#include "chat/chat_template.h"
#include "core/error.h"
#include "jinja/text.h"

namespace sft {

namespace {

size_t common_prefix(std::string_view a, std::string_view b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first -
                             a.begin());
}

// Where two texts part, moved back out of a tag like <|eot_id|> or a character they part within.
size_t parting(std::string_view a, std::string_view b) {
  size_t n = common_prefix(a, b);
  if (n == a.size() || n == b.size()) {
    return n;
  }
  while (n > 0 && (static_cast<unsigned char>(a[n]) & 0xC0) == 0x80) {
    --n;
  }
  const size_t open = a.substr(0, n).rfind('<');
  const size_t close = a.substr(0, n).rfind('>');
  const bool inside_tag = open != std::string_view::npos &&
                          (close == std::string_view::npos || close < open) && n - open < 64 &&
                          a.find_first_of(" \n", open) >= n;
  return inside_tag ? open : n;
}

// The length of the longest suffix of `text` that is a prefix of `ahead` (Knuth-Morris-Pratt).
size_t longest_overlap(std::string_view ahead, std::string_view text) {
  ahead = ahead.substr(0, std::min(ahead.size(), text.size()));
  if (ahead.empty()) {
    return 0;
  }
  std::vector<size_t> border(ahead.size() + 1, 0);
  for (size_t i = 1, k = 0; i < ahead.size(); ++i) {
    while (k > 0 && ahead[i] != ahead[k]) {
      k = border[k];
    }
    border[i + 1] = k += ahead[i] == ahead[k];
  }
  size_t k = 0;
  for (const char c : text) {
    while (k > 0 && (k == ahead.size() || c != ahead[k])) {
      k = border[k];
    }
    k += c == ahead[k];
  }
  return k;
}

std::string_view trimmed(std::string_view text) {
  return jinja::strip_right(jinja::strip_left(text));
}

bool is_assistant(const Json& message) {
  const auto role = message.find("role");
  return role != message.end() && role->is_string() &&
         role->get_ref<const std::string&>() == "assistant";
}

// How much of the prompt's header an assistant turn really begins with. All of it, or all but a
// thinking block that the prompt opens and the turn does not have; nothing when it is another.
std::optional<size_t> header_length(std::string_view header, std::string_view text) {
  const size_t same = parting(header, text);
  const bool rest_is_thinking = same > 0 && header.substr(same).starts_with('<') &&
                                header.substr(same).find("think") != std::string_view::npos;
  return same == header.size() || rest_is_thinking ? std::optional<size_t>(same) : std::nullopt;
}

class Finder {
 public:
  Finder(const ChatTemplate& chat_template, const Json& messages, const RenderOptions& options,
         std::string_view full)
      : template_(chat_template), messages_(messages), options_(options), full_(full) {}

  AssistantSpans run() {
    AssistantSpans result;
    for (size_t i = 0; i < messages_.size(); ++i) {
      if (!is_assistant(messages_[i])) {
        continue;
      }
      if (const auto span = find(i)) {
        result.spans.push_back(*span);
        result.turns.push_back(i);
        cursor_ = span->end;
      } else {
        result.missing.push_back(i);
      }
    }
    return result;
  }

 private:
  std::optional<std::string> render(size_t count, bool prompt) const {
    RenderOptions options = options_;
    options.add_generation_prompt = prompt;
    options.continue_final_message = false;
    Json prefix(messages_.begin(), messages_.begin() + static_cast<std::ptrdiff_t>(count));
    try {
      return template_.render(count == 0 ? Json::array() : prefix, options).text;
    } catch (const Error&) {
      return std::nullopt;  // many templates refuse half a conversation
    }
  }

  std::optional<Span> find(size_t turn) {
    const auto before = render(turn, false), prompt = render(turn, true);
    const auto after = render(turn + 1, false);
    if (!after) {
      return std::nullopt;
    }
    if (before && prompt) {
      const size_t shared = parting(*prompt, *before);
      if (const auto found = find(turn, *prompt, *before, *after, prompt->substr(0, shared))) {
        return found;
      }
    }
    return turn == 0 ? find_first(*after) : std::nullopt;
  }

  // A chat that the assistant begins. No messages may have no rendering, or one without what stands
  // before the first turn (BOS, a system prompt of the template's own): the header is the one
  // behind this turn, and what stands before it is part of the turn's own rendering.
  std::optional<Span> find_first(const std::string& after) {
    const auto prompt = render(1, true);
    if (!prompt) {
      return std::nullopt;
    }
    const std::string header = prompt->substr(parting(*prompt, after));
    const size_t at = header.empty() ? std::string::npos : after.find(header);
    return at == std::string::npos ? std::nullopt
                                   : find(0, *prompt, after, after, after.substr(0, at));
  }

  // `prompt` and `before`: renderings with and without a header at the end; `after`: with the turn;
  // `history`: what stands before the turn in it.
  std::optional<Span> find(size_t turn, const std::string& prompt, const std::string& before,
                           const std::string& after, const std::string& history) const {
    const size_t shared = parting(prompt, before);
    const std::string_view header = std::string_view(prompt).substr(shared);
    // What a rendering without a prompt adds at its very end (Phi-3: the end-of-text token).
    const std::string_view closing = std::string_view(before).substr(shared);

    const auto begin = find_begin(history, header);
    const size_t own_history = parting(after, history);
    if (!begin || own_history != history.size()) {
      return std::nullopt;
    }
    const std::string_view rest = std::string_view(after).substr(own_history);
    const auto own_header = header_length(header, rest);
    if (!own_header) {
      return std::nullopt;
    }
    const auto end = find_end(turn, *begin, rest.substr(*own_header), closing);
    if (!end) {
      return std::nullopt;
    }
    return Span{static_cast<uint32_t>(*begin), static_cast<uint32_t>(*end)};
  }

  // Where the turn's own text begins in the full text: behind what stands before it and its header.
  std::optional<size_t> find_begin(std::string_view history, std::string_view header) const {
    size_t at = history.size();
    if (!full_.starts_with(history)) {
      // The full text has an earlier turn in another form: go on from the end of the last turn.
      const size_t overlap = longest_overlap(full_.substr(cursor_), history);
      if (cursor_ == 0 || overlap == 0) {
        return std::nullopt;
      }
      at = cursor_ + overlap;
    }
    if (at < cursor_) {
      return std::nullopt;
    }
    const auto same = header_length(header, full_.substr(at));
    return same ? std::optional<size_t>(at + *same) : std::nullopt;
  }

  std::optional<size_t> find_end(size_t turn, size_t begin, std::string_view text,
                                 std::string_view closing) const {
    const std::string_view ahead = full_.substr(begin);
    const bool last = turn + 1 == messages_.size();
    if (last && !options_.add_generation_prompt && ahead == text) {
      return begin + text.size();
    }
    if (!closing.empty() && text.ends_with(closing)) {
      text.remove_suffix(closing.size());
    }
    if (text.empty()) {
      return std::nullopt;
    }
    if (ahead.starts_with(text)) {
      return begin + text.size();
    }
    // As the last message the turn was written with more at its front (its thinking).
    const size_t overlap = longest_overlap(ahead, text);
    const std::string_view kept = text.substr(text.size() - overlap);
    const std::string_view content = visible_content(messages_[turn]);
    if (overlap == 0 || kept.find(content) == std::string_view::npos || trimmed(kept).empty()) {
      return std::nullopt;
    }
    return begin + overlap;
  }

  // The part of a message's content that every rendering of it must show.
  static std::string_view visible_content(const Json& message) {
    const auto content = message.find("content");
    if (content == message.end() || !content->is_string()) {
      return {};
    }
    std::string_view text = content->get_ref<const std::string&>();
    constexpr std::string_view end_of_thought = "</think>";
    const size_t thought = text.rfind(end_of_thought);
    return trimmed(
        thought == std::string_view::npos ? text : text.substr(thought + end_of_thought.size()));
  }

  const ChatTemplate& template_;
  const Json& messages_;
  const RenderOptions& options_;
  const std::string_view full_;
  size_t cursor_ = 0;  // the end of the last turn found
};

}  // namespace

AssistantSpans assistant_spans(const ChatTemplate& chat_template, const Json& messages,
                               const RenderOptions& options, const std::string& full_text) {
  RenderedChat rendered = chat_template.for_assistant_mask().render(messages, options);
  if (!rendered.has_generation_markers || rendered.text != full_text) {
    return Finder(chat_template, messages, options, full_text).run();
  }
  AssistantSpans result{std::move(rendered.generation), {}, {}};
  for (size_t i = 0; i < messages.size(); ++i) {
    if (is_assistant(messages[i])) {
      result.turns.push_back(i);
    }
  }
  if (result.turns.size() != result.spans.size()) {
    result.turns.clear();  // one block over several turns, or several in one
  }
  return result;
}

}  // namespace sft
