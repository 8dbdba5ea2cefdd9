#include "data/prompts.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "data/read/reader.h"
#include "data/rows/shapes.h"

namespace sft {

namespace {

constexpr Code kAsksNothing = "D069";

[[noreturn]] void asks_nothing(std::string_view why, const Json& row) {
  throw Error(kAsksNothing, fmt::format("this row asks nothing: {}; it is {}", why, preview(row)))
      .hint(
          "rows need a prompt, or a conversation with a question; --eval_prompts FILE gives "
          "others");
}

// What of a message people read.
std::string words_of(const Json& message) {
  const Json& content = message.contains("content") ? message["content"] : Json();
  if (content.is_string()) {
    return content.get<std::string>();
  }
  std::string words;
  if (content.is_array()) {
    for (const Json& part : content) {
      words += part.is_object() && part.contains("text") && part["text"].is_string()
                   ? part["text"].get<std::string>()
                   : "";
    }
  }
  return words;
}

std::string shown_messages(const Json& messages) {
  if (messages.size() == 1) {
    return words_of(messages[0]);
  }
  std::string shown;
  for (const Json& message : messages) {
    shown += fmt::format("{}{}: {}", shown.empty() ? "" : "\n", message["role"].get<std::string>(),
                         words_of(message));
  }
  return shown;
}

class PromptReader {
 public:
  // `lines`: the rows are lines of text, each of which is a prompt.
  PromptReader(const DataOptions& options, const DataContext& context, PromptStyle style,
               bool lines = false)
      : options_(options), context_(context), style_(std::move(style)), lines_(lines) {}

  // The rows say what to expect; those that are no more than a prompt are not asked.
  void expect(std::span<const Json> rows, const std::string& place) {
    std::vector<Json> others;
    std::ranges::copy_if(rows, std::back_inserter(others),
                         [](const Json& row) { return !is_bare(row); });
    if (!others.empty()) {
      shape_.emplace(others, place, ShapeOptions(options_));
    }
  }

  Prompt read(const Json& row, const std::string& place) const {
    try {
      Prompt out = is_bare(row) ? bare(row) : shaped(row, place);
      if (out.ids.empty()) {
        asks_nothing("its prompt has no tokens", row);
      }
      out.place = place;
      return out;
    } catch (const Error& e) {
      throw Error(e).at(place);
    }
  }

  Prompt text(const std::string& text) const {
    Prompt out;
    out.shown = text;
    if (!style_.chat) {
      out.ids = plain(text);
      return out;
    }
    Json messages = Json::array();
    if (style_.system) {
      messages.push_back({{"role", "system"}, {"content", *style_.system}});
    }
    messages.push_back({{"role", "user"}, {"content", text}});
    out.ids = rendered(messages, Json(), Json());
    return out;
  }

 private:
  // No more than a prompt, and perhaps what to compare its answer with.
  static bool is_bare(const Json& row) {
    const auto there = [&](const char* name) { return row.contains(name) && !row[name].is_null(); };
    return there("prompt") && !there("completion");
  }

  Prompt bare(const Json& row) const {
    const Json& prompt = row["prompt"];
    Prompt out;
    if (prompt.is_string()) {
      out = text(prompt.get<std::string>());
    } else {
      Json alone{{"messages", prompt}};
      for (const char* more : {"tools", "chat_template_kwargs"}) {
        if (row.contains(more)) {
          alone[more] = row[more];
        }
      }
      out = shaped(alone, "");
    }
    if (row.contains("reference") && row["reference"].is_string()) {
      out.reference = row["reference"].get<std::string>();
    }
    return out;
  }

  Prompt shaped(const Json& row, const std::string& place) const {
    const std::span<const Json> one(&row, 1);
    const ShapedRow shaped = shape_ ? shape_->read(row, place)
                                    : RowShape(one, place, ShapeOptions(options_)).read(row, place);
    switch (shaped.kind) {
      case RowKind::text:
        return asked_text(shaped.text, row);
      case RowKind::prompt_completion: {
        Prompt out = text(shaped.prompt);
        out.reference = shaped.completion;
        return out;
      }
      case RowKind::messages:
      case RowKind::messages_and_completion:
        return conversation(shaped, row);
      case RowKind::tokens:
        return tokens(shaped, row);
    }
    return {};
  }

  // A line of a file of prompts; a text that is trained as a whole has no question.
  Prompt asked_text(const std::string& line, const Json& row) const {
    if (!lines_) {
      asks_nothing("all of it is plain text", row);
    }
    return text(line);
  }

  Prompt conversation(const ShapedRow& shaped, const Json& row) const {
    const Json& all = shaped.messages;
    size_t asked = shaped.kind == RowKind::messages_and_completion ? shaped.prompt_messages : 0;
    const auto answers = [](const Json& message) { return message["role"] == "assistant"; };
    if (shaped.kind == RowKind::messages) {
      asked = all.size();
      for (size_t i = all.size(); i-- > 0;) {
        if (answers(all[i])) {
          asked = i;
          break;
        }
      }
    }
    if (asked == 0) {
      asks_nothing("it begins with the answer", row);
    }
    const Json messages(all.begin(), all.begin() + static_cast<long>(asked));
    Prompt out;
    out.shown = shown_messages(messages);
    out.ids = rendered(messages, shaped.tools, shaped.template_kwargs);
    for (size_t i = asked; i < all.size() && !out.reference; ++i) {
      if (answers(all[i])) {
        out.reference = words_of(all[i]);
      }
    }
    return out;
  }

  // Up to the first trained token; the answer is the run of trained ones there.
  Prompt tokens(const ShapedRow& row, const Json& value) const {
    const size_t n = row.input_ids.size();
    const auto trained = [&](size_t i) {
      return row.labels.empty() ? !row.completion_mask.empty() && row.completion_mask[i] != 0
                                : row.labels[i] != kIgnored;
    };
    size_t begin = 0;
    while (begin < n && !trained(begin)) {
      ++begin;
    }
    size_t end = begin;
    while (end < n && trained(end)) {
      ++end;
    }
    if (begin == 0 || begin == n) {
      asks_nothing(begin == 0 ? "all of its tokens are trained" : "none of its tokens is trained",
                   value);
    }
    Prompt out;
    const std::span ids(row.input_ids);
    out.ids.assign(ids.begin(), ids.begin() + static_cast<long>(begin));
    out.shown = context_.tokenizer.decode(ids.first(begin), false);
    out.reference = context_.tokenizer.decode(ids.subspan(begin, end - begin), true);
    return out;
  }

  std::vector<int32_t> plain(const std::string& text) const {
    return context_.tokenizer.encode(text, true);
  }

  // A rendered chat brings its own special tokens.
  std::vector<int32_t> rendered(const Json& messages, const Json& tools, const Json& kwargs) const {
    if (context_.chat_template == nullptr) {
      throw Error("D071", "a conversation is to be answered, and the model has no chat template")
          .hint("give one with --chat_template_path");
    }
    RenderOptions render;
    render.add_generation_prompt = true;
    render.tools = tools;
    render.kwargs = kwargs;
    return context_.tokenizer.encode(context_.chat_template->render(messages, render).text, false);
  }

  const DataOptions& options_;
  const DataContext& context_;
  PromptStyle style_;
  bool lines_;
  std::optional<RowShape> shape_;
};

}  // namespace

std::vector<Prompt> first_prompts(const DataOptions& options, Part part, const DataContext& context,
                                  int64_t limit) {
  const std::vector<PlacedRow> rows = first_rows(options, part, context, limit);
  std::vector<Json> values;
  for (const PlacedRow& row : rows) {
    values.push_back(row.value);
  }
  PromptReader reader(options, context, {});
  reader.expect(values, rows[0].place);
  std::vector<Prompt> out;
  for (const PlacedRow& row : rows) {
    out.push_back(reader.read(row.value, row.place));
  }
  return out;
}

std::vector<Prompt> prompts_of_file(const std::filesystem::path& file, const PromptStyle& style,
                                    const DataOptions& options, const DataContext& context) {
  const auto rows = open_reader(file);
  std::vector<PlacedRow> read;
  std::vector<Json> values;
  for (RawRow row; rows->next(row);) {
    read.push_back({row.place(), row.json()});
    values.push_back(read.back().value);
  }
  if (read.empty()) {
    throw Error("D048", fmt::format("{} has no rows", file.string())).at(file.string());
  }
  const FileFormat* format = format_of(file);
  PromptReader reader(options, context, style, format != nullptr && format->name == "text");
  reader.expect(values, read[0].place);
  std::vector<Prompt> out;
  for (const PlacedRow& row : read) {
    out.push_back(reader.read(row.value, row.place));
  }
  return out;
}

Prompt prompt_of_text(const std::string& text, const PromptStyle& style,
                      const DataContext& context) {
  const DataOptions none;
  return PromptReader(none, context, style).text(text);
}

}  // namespace sft
