#include "chat/chat_template.h"
#include "support/paths.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "core/error.h"

namespace sft {
namespace {

const std::string kGolden = std::string(SFT_TEST_DIR) + "/chat/golden/chat_templates.json";

Json message(const std::string& role, const std::string& content) {
  return {{"role", role}, {"content", content}};
}

std::vector<std::string> texts(const std::string& text, const std::vector<Span>& spans) {
  std::vector<std::string> out;
  for (const Span& span : spans) {
    out.push_back(text.substr(span.begin, span.size()));
  }
  return out;
}

using Strings = std::vector<std::string>;

// Every case of tools/golden/chat_template.py: text, generation spans, or that it is an error.
TEST(chat_template, renders_what_transformers_renders) {
  const Json golden = read_json(kGolden);
  const auto used = [&](const Json& value, const char* table) {
    return value.is_object() && value.contains("use")
               ? golden[table][value["use"].get<std::string>()]
               : value;
  };
  ASSERT_GT(golden["cases"].size(), 250u);
  for (const Json& c : golden["cases"]) {
    SCOPED_TRACE(c["name"].get<std::string>());
    RenderOptions options;
    options.add_generation_prompt = c.value("agp", false);
    options.continue_final_message = c.value("cont", false);
    if (c.contains("tools")) {
      options.tools = golden["TOOLS"];
    }
    if (c.contains("kwargs")) {
      options.kwargs = c["kwargs"].is_string() ? golden["DATA"] : c["kwargs"];
    }
    try {
      const ChatTemplate chat_template(used(c["template"], "templates").get<std::string>(),
                                       c.value("special", Json::object()));
      const RenderedChat chat = chat_template.render(used(c["messages"], "chats"), options);
      if (c.contains("error")) {
        ADD_FAILURE() << "wanted " << c["error"] << ", rendered " << chat.text;
        continue;
      }
      EXPECT_EQ(chat.text, c["text"].get<std::string>());
      if (chat.has_generation_markers) {
        Json spans = Json::array();
        for (const Span& span : chat.generation) {
          spans.push_back({span.begin, span.end});
        }
        EXPECT_EQ(spans, c["gen"]);
      }
    } catch (const Error& error) {
      EXPECT_TRUE(c.contains("error")) << error.text();
      if (c.contains("raised")) {
        EXPECT_EQ(error.message(), c["raised"].get<std::string>());
      }
    }
  }
}

TEST(chat_template, gives_special_tokens_in_both_their_forms) {
  const Json tokens = {{"bos_token", {{"content", "<s>"}, {"lstrip", false}}},
                       {"eos_token", "</s>"},
                       {"pad_token", nullptr}};
  EXPECT_EQ(ChatTemplate("{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ pad_token is defined }}",
                         tokens)
                .render(Json::array())
                .text,
            "<s></s>False");
}

TEST(chat_template, knows_reasoning_under_its_other_names) {
  const ChatTemplate t("{{ messages[0].reasoning_content }}|{{ messages[0].thinking }}");
  Json m = message("assistant", "x");
  m["reasoning"] = "because";
  EXPECT_EQ(t.render(Json::array({m})).text, "because|because");
}

TEST(chat_template, refuses_messages_of_the_wrong_shape) {
  const ChatTemplate t = ChatTemplate::chatml();
  const auto code = [&](const Json& messages, const RenderOptions& options = {}) {
    try {
      t.render(messages, options);
    } catch (const Error& error) {
      return std::string(error.code().text());
    }
    return std::string("none");
  };
  EXPECT_EQ(code("text"), "M157");
  EXPECT_EQ(code(Json::array({"text"})), "M157");
  RenderOptions tools;
  tools.tools = "text";
  EXPECT_EQ(code(Json::array(), tools), "M157");
  RenderOptions variables;
  variables.kwargs = {{"messages", Json::array()}};
  EXPECT_EQ(code(Json::array(), variables), "M157");
  RenderOptions go_on;
  go_on.continue_final_message = true;
  EXPECT_EQ(code(Json::array(), go_on), "M159");
  EXPECT_EQ(code(Json::array({{{"role", "user"}, {"content", nullptr}}}), go_on), "M159");
}

TEST(chat_template, chatml_is_the_default_for_base_models) {
  RenderOptions options;
  options.add_generation_prompt = true;
  const Json messages = Json::array({message("user", "Hi")});
  EXPECT_EQ(ChatTemplate::chatml().render(messages, options).text,
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(chat_template, renders_the_same_from_many_threads) {
  const ChatTemplate t(
      "{% macro m(x) %}{{ x | upper ~ 'é' }}{% endmacro %}{% for i in messages %}{{ m(i.content) }}"
      "{{ loop.index ~ 'constant' }}{% endfor %}");
  const Json messages = Json::array({message("user", "a"), message("assistant", "b")});
  const std::string wanted = t.render(messages).text;
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 2000; ++k) {
        wrong += t.render(messages).text != wanted;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(wrong, 0);
}

TEST(chat_template, refuses_a_generation_block_whose_text_it_cannot_place) {
  const ChatTemplate t(
      "{% macro m() %}before {% generation %}x{% endgeneration %}{% endmacro %}{{ m() }}");
  try {
    t.render(Json::array());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code().text(), "M158");
  }
  const ChatTemplate fine(
      "a{% macro m() %}{% generation %}x{% endgeneration %}!{% endmacro %}{{ m() }}");
  const RenderedChat chat = fine.render(Json::array());
  EXPECT_EQ(texts(chat.text, chat.generation), Strings{"x"});
}

// ---- assistant_spans

const Json kChat = Json::array({message("user", "One?"), message("assistant", " 1 "),
                                message("user", "Two?"), message("assistant", "<b>2</b>")});

Strings turns(const ChatTemplate& t, const Json& messages, std::vector<size_t> missing = {}) {
  const std::string text = t.render(messages).text;
  const AssistantSpans found = assistant_spans(t, messages, {}, text);
  EXPECT_EQ(found.missing, missing);
  return texts(text, found.spans);
}

TEST(assistant_spans, cover_content_and_end_of_turn) {
  EXPECT_EQ(turns(ChatTemplate::chatml(), kChat),
            (Strings{" 1 <|im_end|>\n", "<b>2</b><|im_end|>\n"}));
}

TEST(assistant_spans, follow_templates_that_trim_and_have_no_header) {
  EXPECT_EQ(
      turns(ChatTemplate(
                "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} "
                "[/INST]{% else %}{{ ' ' + m.content | trim + '</s>' }}{% endif %}{% endfor %}"),
            kChat),
      (Strings{" 1</s>", " <b>2</b></s>"}));
}

TEST(assistant_spans, leave_out_what_a_rendering_adds_at_its_end) {
  const ChatTemplate t(
      "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
      "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ '<|endoftext|>' }}{% "
      "endif %}");
  EXPECT_EQ(turns(t, kChat), (Strings{" 1 <|end|>\n", "<b>2</b><|end|>\n<|endoftext|>"}));
}

// In the style of Qwen3: the thinking of earlier turns is dropped, the last turn always has a
// block.
const char* const kDropsThinking =
    "{% for m in messages %}{% set c = m.content %}{% set r = '' %}{% if '</think>' in c %}"
    "{% set r = c.split('</think>')[0].split('<think>')[-1].strip() %}"
    "{% set c = c.split('</think>')[-1].lstrip() %}{% endif %}{{ '<' + m.role + '>\n' }}"
    "{% if m.role == 'assistant' and loop.last %}{{ '<think>\n' + r + '\n</think>\n\n' }}{% endif "
    "%}"
    "{{ c + '<end>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<assistant>\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}"
    "{% endif %}{% endif %}";

TEST(assistant_spans, find_turns_whose_thinking_was_dropped) {
  const Json messages =
      Json::array({message("user", "a"), message("assistant", "<think>\nlong\n</think>\n\nA"),
                   message("user", "b"), message("assistant", "<think>\nhm\n</think>\n\nB")});
  EXPECT_EQ(turns(ChatTemplate(kDropsThinking), messages),
            (Strings{"A<end>\n", "<think>\nhm\n</think>\n\nB<end>\n"}));
}

TEST(assistant_spans, find_turns_behind_a_prompt_that_opens_a_thinking_block) {
  RenderOptions options;
  options.kwargs = {{"enable_thinking", false}};
  const ChatTemplate t(kDropsThinking);
  const Json messages = Json::array({message("user", "a"), message("assistant", "A"),
                                     message("user", "b"), message("assistant", "B")});
  const std::string text = t.render(messages, options).text;
  const AssistantSpans found = assistant_spans(t, messages, options, text);
  EXPECT_TRUE(found.missing.empty());
  EXPECT_EQ(texts(text, found.spans), (Strings{"A<end>\n", "B<end>\n"}));
}

TEST(assistant_spans, report_a_turn_they_cannot_place) {
  // the first turn is written in another way once something follows it
  const ChatTemplate t(
      "{% for m in messages %}{{ '<' + m.role + '>' }}{{ m.content | upper if m.role == "
      "'assistant' and not loop.last else m.content }}"
      "{{ '<end>' }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}");
  EXPECT_EQ(turns(t,
                  Json::array({message("user", "a"), message("assistant", "abc"),
                               message("user", "b"), message("assistant", "xyz")}),
                  {1}),
            Strings{"xyz<end>"});
  // a template that cannot render the conversation without its first message
  const ChatTemplate strict("{{ messages[0]['role'] }}:{{ messages[0]['content'] }}");
  EXPECT_EQ(turns(strict, Json::array({message("assistant", "abc")}), {0}), Strings{});
  // a default system message that only a non-empty conversation has is no part of the turn
  const ChatTemplate with_default(
      "{% for m in messages %}{% if loop.first and m.role != 'system' %}<|s|>system\nBe "
      "kind.<|e|>\n{% endif %}"
      "{{ '<|s|>' + m.role + '\n' + m.content + '<|e|>\n' }}{% endfor %}"
      "{% if add_generation_prompt %}{{ '<|s|>assistant\n' }}{% endif %}");
  EXPECT_EQ(turns(with_default, Json::array({message("assistant", "abc")})), Strings{"abc<|e|>\n"});
}

// As TRL's training templates mark it.
TEST(assistant_spans, find_the_first_turn_of_a_chat_that_the_assistant_begins) {
  const Json chat = Json::array(
      {message("assistant", "Hi!"), message("user", "One?"), message("assistant", "1")});
  for (const char* start : {"{% if loop.first %}{{ bos_token }}{% endif %}",
                            "{% if loop.first %}{{ messages[0].role[:0] }}{% endif %}"}) {
    const ChatTemplate t(fmt::format("{{% for m in messages %}}{}", start) +
                             "{{ '<|s|>' + m.role + '\n' + m.content + '<|e|>\n' }}{% endfor %}"
                             "{% if add_generation_prompt %}{{ '<|s|>assistant\n' }}{% endif %}",
                         {{"bos_token", "<s>"}});
    EXPECT_EQ(turns(t, chat), (Strings{"Hi!<|e|>\n", "1<|e|>\n"}));
  }
  const ChatTemplate refuses(
      "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}{% for m in "
      "messages %}{{ '<|s|>' + m.role + '\n' + m.content + '<|e|>\n' }}{% endfor %}"
      "{% if add_generation_prompt %}{{ '<|s|>assistant\n' }}{% endif %}");
  EXPECT_EQ(turns(refuses, chat), (Strings{"Hi!<|e|>\n", "1<|e|>\n"}));
}

// The shape of Qwen2.5's template, whose header ends before the newline.
TEST(assistant_spans, count_the_newline_as_generated_where_the_header_ends_before_it) {
  const ChatTemplate t(R"({%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {{- '\n<tool_call>' + tool_call.name + '</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {{- message.content }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %})");
  Json call = message("assistant", "");
  call["tool_calls"] = Json::array({{{"name", "f"}}});
  const Json messages = Json::array({message("user", "q"), call, message("assistant", "a")});
  EXPECT_EQ(turns(t, messages),
            (Strings{"\n<tool_call>f</tool_call><|im_end|>\n", "\na<|im_end|>\n"}));
  const ChatTemplate marked = t.for_assistant_mask();
  EXPECT_TRUE(marked.has_generation_markers());
  EXPECT_EQ(marked.render(messages).text, t.render(messages).text);
}

}  // namespace
}  // namespace sft
