// Generation markers for templates that are published without them, so that the labels of an
// assistant-only run are those TRL gives. A template is recognised by the places it is edited at;
// one whose text the edit changes, by its whole source.
#include <algorithm>
#include <cstdint>
#include <span>

#include "text/chat_template.h"

namespace sft {

namespace {

// Replaces everything from `from` up to the next `to` (which stays); with `to` empty, `from` alone.
struct Edit {
  std::string_view from, to, replacement;
};

struct Known {
  std::span<const Edit> edits;
  uint64_t source_hash;  // of the trimmed source, where the edit changes the text; else 0
};

// Qwen2.5: the newline after the header counts as generated, and turns with and without tool calls
// go through one branch.
constexpr Edit kQwen25[] = {
    {R"( or (message.role == "assistant" and not message.tool_calls) %})", "", " %}"},
    {R"({{- '<|im_start|>' + message.role }})", R"({{- '\n' + message.content }})",
     R"({{- '<|im_start|>' + message.role }}{%- generation %}{%- if not message.tool_calls %})"
     R"({{- '\n' + message.content }}{%- elif message.content %})"},
    {"{%- for tool_call in message.tool_calls %}", "",
     "{%- for tool_call in message.tool_calls or [] %}"},
    {R"({{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %})",
     "", R"({{- '<|im_end|>\n' }}{%- endgeneration %}{%- elif message.role == "tool" %})"},
};

// Qwen3: the thinking block is written in every turn, empty or not.
constexpr Edit kQwen3[] = {
    {"{%- if loop.index0 > ns.last_query_index %}", "{%- if message.tool_calls %}",
     R"({{- '<|im_start|>' + message.role + '\n' }}{%- generation %}{{- '<think>\n' + )"
     R"(reasoning_content.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }})"},
    {R"({{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %})",
     "", R"({{- '<|im_end|>\n' }}{%- endgeneration %}{%- elif message.role == "tool" %})"},
};

constexpr Known kKnown[] = {{kQwen25, 0}, {kQwen3, 0x959A4551391A6549}};

std::string_view trimmed(std::string_view source) {
  return source.substr(0, source.find_last_not_of(" \t\r\n") + 1);
}

uint64_t fnv1a(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325;
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  }
  return hash;
}

bool apply(std::string& source, const Edit& edit) {
  const size_t begin = source.find(edit.from);
  if (begin == std::string::npos || source.find(edit.from, begin + 1) != std::string::npos) {
    return false;
  }
  size_t end = begin + edit.from.size();
  if (!edit.to.empty()) {
    end = source.find(edit.to, end);
    if (end == std::string::npos) {
      return false;
    }
  }
  source.replace(begin, end - begin, edit.replacement);
  return true;
}

}  // namespace

std::optional<std::string> add_generation_markers(std::string_view source) {
  for (const Known& known : kKnown) {
    std::string edited(source);
    const bool same = known.source_hash == 0 || fnv1a(trimmed(source)) == known.source_hash;
    if (same && std::all_of(known.edits.begin(), known.edits.end(),
                            [&](const Edit& edit) { return apply(edited, edit); })) {
      return edited;
    }
  }
  return std::nullopt;
}

}  // namespace sft
