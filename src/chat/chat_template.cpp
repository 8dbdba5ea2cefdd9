#include "chat/chat_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>

#include "core/error.h"
#include "jinja/interpreter.h"
#include "jinja/ops.h"
#include "jinja/parser.h"
#include "jinja/print.h"
#include "jinja/text.h"

namespace sft {

using jinja::Kind;
using jinja::Value;

struct ChatTemplate::Parts {
  std::string source, name;
  Json special_tokens;
  std::shared_ptr<const jinja::Template> parsed;
  std::shared_ptr<const ChatTemplate> tool_use;  // renders rows with tools, where there is one
};

namespace {

constexpr std::string_view kContinueMark = "CONTINUE_FINAL_MESSAGE_TAG ";
// The names under which data sets and servers keep what a model thought before it answered.
constexpr std::string_view kReasoningFields[] = {"reasoning_content", "thinking", "reasoning"};

[[noreturn]] void fail_input(std::string message, std::string hint) {
  throw Error("M157", std::move(message)).hint(std::move(hint));
}

void check_shapes(const Json& messages, const RenderOptions& options) {
  if (!messages.is_array()) {
    fail_input(fmt::format("messages must be an array of objects, not {}", messages.type_name()),
               R"(write them as [{"role": "user", "content": "..."}, ...])");
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    if (!messages[i].is_object()) {
      fail_input(fmt::format("message {} must be an object, not {}", i, messages[i].type_name()),
                 R"(write it as {"role": "user", "content": "..."})");
    }
  }
  const auto check = [](const Json& value, Json::value_t type, std::string_view what) {
    if (!value.is_null() && value.type() != type) {
      fail_input(fmt::format("{} of the wrong type: {}", what, value.type_name()),
                 "tools and documents are arrays, further variables an object");
    }
  };
  check(options.tools, Json::value_t::array, "tools");
  check(options.documents, Json::value_t::array, "documents");
  check(options.kwargs, Json::value_t::object, "the template's variables");
  if (options.kwargs.is_object()) {
    for (const char* own : {"messages", "tools", "documents", "add_generation_prompt"}) {
      if (options.kwargs.contains(own)) {
        fail_input(fmt::format("'{}' cannot be given among the template's variables", own),
                   "give it in its own place");
      }
    }
  }
}

// A message without its null members: a template would print them as "None", and handles what is
// missing.
Value without_nulls(const Value& message) {
  const auto is_null = [](const auto& member) { return member.second.is(Kind::none); };
  const jinja::Dict& dict = message.dict();
  if (std::ranges::none_of(dict.items, is_null)) {
    return message;
  }
  auto kept = std::make_unique<jinja::Dict>();
  std::ranges::copy_if(dict.items, std::back_inserter(kept->items), std::not_fn(is_null));
  return kept.release()->finish();
}

// Templates read `reasoning_content`, some `thinking`; a message may have it under another name.
Value with_reasoning_names(const Value& message) {
  const jinja::Dict& dict = message.dict();
  const Value* reasoning = nullptr;
  for (const std::string_view field : kReasoningFields) {
    const Value* found = dict.find(field);
    if (found != nullptr && !found->is(Kind::none)) {
      reasoning = found;
      break;
    }
  }
  if (reasoning == nullptr) {
    return message;
  }
  auto named = std::make_unique<jinja::Dict>();
  named->add(Value::borrowed("thinking"), *reasoning);
  for (const auto& [key, value] : dict.items) {
    named->set(key.text(), value);
  }
  named->set("reasoning_content", *reasoning);
  return named.release()->finish();
}

// `key` is one of the names written here.
Value replace_member(const Value& object, std::string_view key, Value value) {
  auto copy = std::make_unique<jinja::Dict>();
  copy->items = object.dict().items;
  copy->set(key, std::move(value));
  return copy.release()->finish();
}

Value marked(const Value& text) {
  return Value::string(std::string(text.text()) + std::string(kContinueMark));
}

// The message with the mark at the end of its text, and that text in `original`.
Value mark_final_message(const Value& message, std::string& original) {
  const auto fail_continue = [](std::string text) {
    throw Error("M159", std::move(text))
        .hint("end the conversation with the message to go on with, with text in its content");
  };
  const Value* content = message.dict().find("content");
  if (content != nullptr && content->is(Kind::string)) {
    original = content->text();
    return replace_member(message, "content", marked(*content));
  }
  if (content == nullptr || !content->is(Kind::list)) {
    fail_continue("the final message has no content that could be continued");
  }
  std::vector<Value> blocks = content->items();
  for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
    const Value* text = block->is(Kind::dict) ? block->dict().find("text") : nullptr;
    if (text != nullptr && text->is(Kind::string)) {
      original = text->text();
      *block = replace_member(*block, "text", marked(*text));
      return replace_member(message, "content", Value::list(std::move(blocks)));
    }
  }
  fail_continue("the final message has no text block that could be continued");
  return message;
}

// Cuts the rendering at the mark; a template that trims messages has trimmed the mark's blank too.
void cut_at_mark(std::string& text, const std::string& original) {
  const std::string_view bare = kContinueMark.substr(0, kContinueMark.size() - 1);
  const auto trimmed = [](std::string_view s) { return jinja::strip_right(jinja::strip_left(s)); };
  const size_t at = text.rfind(bare);
  if (at == std::string::npos || text.find(trimmed(original)) == std::string::npos) {
    throw Error("M159",
                "the final message does not appear as it is in the rendered chat, so it "
                "cannot be continued")
        .hint("the template leaves part of the message out; choose another template");
  }
  const bool whole = std::string_view(text).substr(at, kContinueMark.size()) == kContinueMark;
  text.resize(at);
  if (!whole) {
    text.resize(jinja::strip_right(text).size());
  }
}

struct Variables {
  const ChatTemplate* chat_template;
  const RenderOptions* options;
  Value messages;
};

Value special_token(const Json& token) {
  if (token.is_object() && token.contains("content")) {
    return Value::from_json(token["content"]);
  }
  return token.is_null() ? Value() : Value::from_json(token);
}

Value find_variable(void* context, std::string_view name) {
  const auto& variables = *static_cast<Variables*>(context);
  const RenderOptions& options = *variables.options;
  if (name == "messages") {
    return variables.messages;
  }
  if (name == "add_generation_prompt") {
    return Value::boolean(options.add_generation_prompt);
  }
  if (name == "tools") {
    return Value::from_json(options.tools);
  }
  if (name == "documents") {
    return Value::from_json(options.documents);
  }
  if (options.kwargs.is_object()) {
    const auto found = options.kwargs.find(std::string(name));
    if (found != options.kwargs.end()) {
      return Value::from_json(*found);
    }
  }
  const Json& tokens = variables.chat_template->special_tokens();
  const auto found = tokens.find(std::string(name));
  return found == tokens.end() ? Value() : special_token(*found);
}

}  // namespace

ChatTemplate::ChatTemplate(std::string source, Json special_tokens, std::string name) {
  auto parts = std::make_shared<Parts>();
  parts->parsed = jinja::parse(source, name);
  parts->source = std::move(source);
  parts->name = std::move(name);
  parts->special_tokens = special_tokens.is_object() ? std::move(special_tokens) : Json::object();
  parts_ = std::move(parts);
}

ChatTemplate ChatTemplate::chatml(Json special_tokens) {
  return ChatTemplate(
      "{%- for message in messages %}\n"
      "    {{- '<|im_start|>' + message['role'] + '\\n' + (message['content'] or '') + "
      "'<|im_end|>\\n' }}\n"
      "{%- endfor %}\n"
      "{%- if add_generation_prompt %}\n"
      "    {{- '<|im_start|>assistant\\n' }}\n"
      "{%- endif %}\n",
      std::move(special_tokens), "chatml");
}

ChatTemplate ChatTemplate::with_tool_use(const ChatTemplate& tool_use) const {
  ChatTemplate both = *this;
  auto parts = std::make_shared<Parts>(*parts_);
  parts->tool_use = std::make_shared<const ChatTemplate>(tool_use);
  both.parts_ = std::move(parts);
  return both;
}

RenderedChat ChatTemplate::render(const Json& messages, const RenderOptions& options) const {
  if (parts_->tool_use && !options.tools.is_null()) {
    return parts_->tool_use->render(messages, options);
  }
  check_shapes(messages, options);
  Budget budget(jinja::kLimit, "the chat template",
                {.steps = options.most_steps, .bytes = jinja::kMaxBytes, .depth = jinja::kMaxStack},
                jinja::kLimitHint);
  std::vector<Value> list;
  list.reserve(messages.size());
  for (const Json& message : messages) {
    list.push_back(with_reasoning_names(without_nulls(Value::from_json(message))));
  }
  std::string original;
  if (options.continue_final_message) {
    if (list.empty()) {
      throw Error("M159", "the conversation is empty, so its final message cannot be continued")
          .hint("add a message");
    }
    list.back() = mark_final_message(list.back(), original);
  }
  RenderedChat result;
  result.has_generation_markers = has_generation_markers();
  Variables variables{this, &options, Value::list(std::move(list))};
  jinja::Interpreter interpreter(*parts_->parsed, budget);
  result.text = interpreter.run(find_variable, &variables);
  result.generation = interpreter.generation();
  if (options.continue_final_message) {
    cut_at_mark(result.text, original);
    const auto size = static_cast<uint32_t>(result.text.size());
    for (Span& span : result.generation) {
      span = {std::min(span.begin, size), std::min(span.end, size)};
    }
  }
  return result;
}

bool ChatTemplate::has_generation_markers() const { return parts_->parsed->has_generation; }
std::string ChatTemplate::sources() const {
  return parts_->tool_use ? parts_->source + '\0' + parts_->tool_use->sources() : parts_->source;
}
const std::string& ChatTemplate::source() const { return parts_->source; }
const std::string& ChatTemplate::name() const { return parts_->name; }
const Json& ChatTemplate::special_tokens() const { return parts_->special_tokens; }

ChatTemplate ChatTemplate::for_assistant_mask() const {
  ChatTemplate marked = *this;
  if (!has_generation_markers()) {
    if (const auto source = add_generation_markers(parts_->source)) {
      marked = ChatTemplate(*source, parts_->special_tokens, parts_->name);
    }
  }
  return parts_->tool_use ? marked.with_tool_use(parts_->tool_use->for_assistant_mask()) : marked;
}

}  // namespace sft
