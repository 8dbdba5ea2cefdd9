// Generation markers for templates that are published without them, so that the labels of an
// assistant-only run are those TRL gives. A template is recognised by the places it is edited at;
// one whose text the edit changes, by its whole source.
#include <algorithm>
#include <cstdint>
#include <span>

#include "chat/chat_template.h"

namespace sft {

namespace {

// Replaces everything from `from` up to the next `to` (which stays); with `to` empty, `from` alone.
struct Edit {
  std::string_view from, to, replacement;
};

struct Known {
  std::span<const Edit> edits;
  // Of the trimmed sources, where the edit changes the text; empty: any with these places.
  std::span<const uint64_t> source_hashes;
};

constexpr std::string_view kTurnEnd = R"({{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %})";
constexpr std::string_view kMarkedTurnEnd =
    R"({{- '<|im_end|>\n' }}{%- endgeneration %}{%- elif message.role == "tool" %})";

// Qwen2.5: the newline after the header counts as generated, and turns with and without tool calls
// go through one branch.
constexpr Edit kQwen25[] = {
    {R"( or (message.role == "assistant" and not message.tool_calls) %})", "", " %}"},
    {R"({{- '<|im_start|>' + message.role }})", R"({{- '\n' + message.content }})",
     R"({{- '<|im_start|>' + message.role }}{%- generation %}{%- if not message.tool_calls %})"
     R"({{- '\n' + message.content }}{%- elif message.content %})"},
    {"{%- for tool_call in message.tool_calls %}", "",
     "{%- for tool_call in message.tool_calls or [] %}"},
    {kTurnEnd, "", kMarkedTurnEnd},
};

// Qwen3: the thinking block is written in every turn, empty or not.
constexpr Edit kQwen3[] = {
    {"{%- if loop.index0 > ns.last_query_index %}", "{%- if message.tool_calls %}",
     R"({{- '<|im_start|>' + message.role + '\n' }}{%- generation %}{{- '<think>\n' + )"
     R"(reasoning_content.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }})"},
    {kTurnEnd, "", kMarkedTurnEnd},
};
constexpr uint64_t kQwen3Sources[] = {0x959A4551391A6549};

// Qwen3.5, with and without thinking as the default, 3.6 and 3.8: likewise.
constexpr Edit kQwen35[] = {
    {"{%- set reasoning_content = reasoning_content|trim %}",
     "{%- if message.tool_calls and message.tool_calls is iterable",
     R"({%- set reasoning_content = reasoning_content|trim %}{{- '<|im_start|>' + message.role + )"
     R"('\n' }}{%- generation %}{{- '<think>\n' + reasoning_content + '\n</think>\n\n' + content }})"},
    {kTurnEnd, "", kMarkedTurnEnd},
};
constexpr uint64_t kQwen35Sources[] = {0xF07C510F47FBACA0, 0x407BBCDEB62737B7, 0x8AE3A8BC6E68F114,
                                       0x8B6B0871C5DB260B};

// DeepSeek-R1-Distill: the reasoning of every turn stays, and the header counts as generated.
constexpr Edit kR1Distill[] = {
    {"{%- for tool in message['tool_calls']%}", "",
     "{%- generation %}{%- for tool in message['tool_calls']%}"},
    {"{%- endfor %}{%- endif %}{%- if message['role'] == 'assistant' and message['content'] is not",
     "",
     "{%- endfor %}{%- endgeneration %}{%- endif %}{%- if message['role'] == 'assistant' and "
     "message['content'] is not"},
    {"{{'<｜tool▁outputs▁end｜>' + message['content']", "",
     "{%- generation %}{{'<｜tool▁outputs▁end｜>' + message['content']"},
    {"{%- else %}{% set content = message['content'] %}", "{{'<｜Assistant｜>' + content",
     "{%- endgeneration %}{%- else %}{%- generation %}{%- set content = message['content'] %}"},
    {"{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}", "",
     "{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}{%- endgeneration %}"},
};
constexpr uint64_t kR1DistillSources[] = {0x845FDF813C637EE2};

// DeepSeek-V3: the header counts as generated, and arguments of calls are written as JSON.
constexpr Edit kDeepSeekV3[] = {
    {"{%- for tool in message['tool_calls'] %}", "",
     "{%- generation %}{%- for tool in message['tool_calls'] %}"},
    {R"(['arguments'] + '\n' + '```' + '<｜tool▁call▁end｜>'}}{%- else %})", "",
     R"(['arguments'] | tojson + '\n' + '```' + '<｜tool▁call▁end｜>'}}{%- else %})"},
    {R"(['arguments'] + '\n' + '```' + '<｜tool▁call▁end｜>'}}{%- endif %}{%- set)", "",
     R"(['arguments'] | tojson + '\n' + '```' + '<｜tool▁call▁end｜>'}}{%- endif %}{%- set)"},
    {R"(['arguments'] + '\n' + '```' + '<｜tool▁call▁end｜>'}}{%- endif %}{%- endfor)", "",
     R"(['arguments'] | tojson + '\n' + '```' + '<｜tool▁call▁end｜>'}}{%- endif %}{%- endfor)"},
    {"{{'<｜tool▁calls▁end｜><｜end▁of▁sentence｜>'}}", "",
     "{{'<｜tool▁calls▁end｜><｜end▁of▁sentence｜>'}}{%- endgeneration %}"},
    {"{{'<｜tool▁outputs▁end｜>' + message['content']", "",
     "{%- generation %}{{'<｜tool▁outputs▁end｜>' + message['content']"},
    {"{%- set ns.is_tool = false -%}{%- else %}", "",
     "{%- set ns.is_tool = false -%}{%- endgeneration %}{%- else %}{%- generation %}"},
    {"{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}", "",
     "{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}{%- endgeneration %}"},
};
constexpr uint64_t kDeepSeekV3Sources[] = {0x4526F885D718FA95};

// GPT-OSS and Muse Glimmer: a turn is several blocks, each with a header that the model writes.
constexpr Edit kGptOss[] = {
    {R"({%- if "tool_calls" in message %})", "",
     R"({%- generation %}{%- if "tool_calls" in message %})"},
    {"{%- elif message.role == 'tool' -%}", "",
     "{%- endgeneration %}{%- elif message.role == 'tool' -%}"},
};
constexpr Edit kMuseGlimmer[] = {
    {"{%- elif role == 'assistant' -%}", "", "{%- elif role == 'assistant' -%}{%- generation %}"},
    {"{{- ('<|eot|>' if end_turn else '<|eom|>') -}}\n        {%- endif -%}", "",
     "{{- ('<|eot|>' if end_turn else '<|eom|>') -}}\n        {%- endif -%}{%- endgeneration %}"},
};

// Nemotron 3, in all sizes: a header that the prompt ends with is not generated, an empty thinking
// block is.
constexpr Edit kNemotron3[] = {
    {"{%- set include_content = not (truncate_history_thinking and loop.index0 < ns.last_user_idx) "
     "%}",
     "",
     "{%- generation %}{%- set include_content = not (truncate_history_thinking and loop.index0 < "
     "ns.last_user_idx) %}"},
    {"{%- endfor %}\n                {{- '<|im_end|>\\n' }}", "",
     "{%- endfor %}\n                {{- '<|im_end|>\\n' }}{%- endgeneration %}"},
    {R"({{- '<|im_start|>assistant\n' ~ (content | default('', true) | string | trim) ~ )"
     R"('<|im_end|>\n' }})",
     "",
     R"({{- '<|im_start|>assistant\n' }}{%- generation %}{{- (content | default('', true) | string )"
     R"(| trim) ~ '<|im_end|>\n' }}{%- endgeneration %})"},
    {R"({{- '<|im_start|>assistant\n' ~ c ~ '<|im_end|>\n' }})", "",
     R"({{- '<|im_start|>assistant\n' }}{%- generation %}{{- c ~ '<|im_end|>\n' }}{%- endgeneration %})"},
    {R"({{- '<|im_start|>assistant\n<|im_end|>\n' }})", "",
     R"({{- '<|im_start|>assistant\n' }}{%- generation %}{{- '<|im_end|>\n' }}{%- endgeneration %})"},
};

constexpr Known kKnown[] = {{kQwen25, {}},
                            {kQwen3, kQwen3Sources},
                            {kQwen35, kQwen35Sources},
                            {kR1Distill, kR1DistillSources},
                            {kDeepSeekV3, kDeepSeekV3Sources},
                            {kGptOss, {}},
                            {kMuseGlimmer, {}},
                            {kNemotron3, {}}};

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
    const bool same =
        known.source_hashes.empty() ||
        std::ranges::find(known.source_hashes, fnv1a(trimmed(source))) != known.source_hashes.end();
    if (same && std::all_of(known.edits.begin(), known.edits.end(),
                            [&](const Edit& edit) { return apply(edited, edit); })) {
      return edited;
    }
  }
  return std::nullopt;
}

}  // namespace sft
