#include "data/shapes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>

#include "core/error.h"
#include "data/roles.h"

namespace sft {

struct ShapeContext {
  std::string column;  // of text or of the conversation
  std::map<std::string, std::string>* mapped;
};

// `column_of` says which column of a row makes it this shape, "" when it is not this shape.
struct ShapeEntry {
  RowKind kind;
  std::string_view name;
  std::string (*column_of)(const Json& row, const std::string& text_field);
  ShapedRow (*read)(const Json& row, const ShapeContext& context);
  std::array<std::string_view, 5> columns;  // used when present, beside the deciding one
};

namespace {

constexpr std::array<std::string_view, 2> kTemplateColumns = {"tools", "chat_template_kwargs"};

const Json* find(const Json& row, std::string_view column) {
  const auto found = row.find(std::string(column));
  return found == row.end() || found->is_null() ? nullptr : &*found;
}

bool is_text(const Json* value) { return value != nullptr && value->is_string(); }

// The list of messages that a value is, as it is or as JSON text, which is kept in `parsed`; null
// otherwise.
const Json* message_list(const Json* value, Json& parsed) {
  const Json* list = value;
  if (is_text(value) && value->get_ref<const std::string&>().starts_with('[')) {
    parsed = Json::parse(value->get_ref<const std::string&>(), nullptr, false);
    list = &parsed;
  }
  const bool fits = list != nullptr && list->is_array() &&
                    (list->empty() || (list->front().is_object() &&
                                       (list->front().contains("role") ||
                                        list->front().contains("from"))));
  return fits ? list : nullptr;
}

bool is_conversation(const Json* value) {
  Json parsed;
  const Json* list = message_list(value, parsed);
  return list != nullptr && !list->empty();
}

[[noreturn]] void wrong_column(const Json& row, std::string_view column, std::string_view wanted) {
  const Json* value = find(row, column);
  throw Error("D031", value == nullptr
                          ? fmt::format("this row has no \"{}\", as the first rows do", column)
                          : fmt::format("the column \"{}\" of this row is {}, wanted {}", column,
                                        value->type_name(), wanted));
}

const std::string& text_of(const Json& row, std::string_view column) {
  const Json* value = find(row, column);
  if (!is_text(value)) {
    wrong_column(row, column, "text");
  }
  return value->get_ref<const std::string&>();
}

std::string optional_text(const Json& row, std::string_view column) {
  return find(row, column) == nullptr ? "" : text_of(row, column);
}

Json messages_of(const Json& row, const std::string& column, const ShapeContext& context) {
  Json parsed;
  const Json* list = message_list(find(row, column), parsed);
  if (list == nullptr) {
    wrong_column(row, column, "a list of messages");
  }
  Json out = Json::array();
  for (const Json& message : *list) {
    out.push_back(normalise_message(message, *context.mapped));
  }
  return out;
}

void read_template_columns(const Json& row, ShapedRow& out) {
  for (const std::string_view column : kTemplateColumns) {
    const Json* value = find(row, column);
    if (value == nullptr) {
      continue;
    }
    Json parsed = *value;
    if (parsed.is_string()) {
      const auto& text = parsed.get_ref<const std::string&>();
      parsed = text.empty() ? Json() : Json::parse(text, nullptr, false);
    }
    const bool is_tools = column == "tools";
    if (!parsed.is_null() && !(is_tools ? parsed.is_array() : parsed.is_object())) {
      wrong_column(row, column, is_tools ? "a list, or JSON text of one" : "an object");
    }
    (is_tools ? out.tools : out.template_kwargs) = std::move(parsed);
  }
}

void put_system_first(const std::string& system, Json& messages) {
  if (!system.empty() && (messages.empty() || messages[0]["role"] != "system")) {
    messages.insert(messages.begin(), Json{{"role", "system"}, {"content", system}});
  }
}

std::vector<int32_t> integers(const Json& row, std::string_view column) {
  const Json* value = find(row, column);
  if (value == nullptr || !value->is_array()) {
    wrong_column(row, column, "a list of token ids");
  }
  std::vector<int32_t> out;
  for (const Json& id : *value) {
    if (!id.is_number_integer() || id.get<int64_t>() < INT32_MIN || id.get<int64_t>() > INT32_MAX) {
      wrong_column(row, column, "a list of token ids");
    }
    out.push_back(id.get<int32_t>());
  }
  return out;
}

std::vector<uint8_t> mask_of(const Json& row, std::string_view column) {
  std::vector<uint8_t> out;
  if (find(row, column) != nullptr) {
    for (const int32_t bit : integers(row, column)) {
      out.push_back(bit != 0);
    }
  }
  return out;
}

ShapedRow read_tokens(const Json& row, const ShapeContext&) {
  ShapedRow out{.kind = RowKind::tokens, .input_ids = integers(row, "input_ids")};
  if (find(row, "labels") != nullptr) {
    out.labels = integers(row, "labels");
  }
  out.completion_mask = mask_of(row, "completion_mask");
  out.assistant_mask = mask_of(row, "assistant_masks");
  for (const size_t length :
       {out.labels.size(), out.completion_mask.size(), out.assistant_mask.size()}) {
    if (length != 0 && length != out.input_ids.size()) {
      throw Error("D034", fmt::format("this row has {} input_ids and {} labels or mask values",
                                      out.input_ids.size(), length));
    }
  }
  return out;
}

ShapedRow read_prompt_completion(const Json& row, const ShapeContext&) {
  return {.kind = RowKind::prompt_completion,
          .prompt = text_of(row, "prompt"),
          .completion = text_of(row, "completion")};
}

ShapedRow read_prompt_completion_messages(const Json& row, const ShapeContext& context) {
  ShapedRow out{.kind = RowKind::messages_and_completion,
                .messages = messages_of(row, "prompt", context)};
  out.prompt_messages = out.messages.size();
  for (Json& message : messages_of(row, "completion", context)) {
    out.messages.push_back(std::move(message));
  }
  read_template_columns(row, out);
  return out;
}

ShapedRow read_conversation(const Json& row, const ShapeContext& context) {
  ShapedRow out{.kind = RowKind::messages, .messages = messages_of(row, context.column, context)};
  if (const Json* system = find(row, "system"); is_text(system) && !out.messages.empty()) {
    put_system_first(system->get<std::string>(), out.messages);
  }
  read_template_columns(row, out);
  return out;
}

ShapedRow read_text(const Json& row, const ShapeContext& context) {
  return {.kind = RowKind::text, .text = text_of(row, context.column)};
}

// Alpaca: instruction, optional input, output; LLaMA-Factory adds `system` and `history`, pairs of
// earlier turns.
ShapedRow read_alpaca(const Json& row, const ShapeContext&) {
  ShapedRow out{.kind = RowKind::messages_and_completion};
  put_system_first(optional_text(row, "system"), out.messages);
  if (const Json* history = find(row, "history")) {
    for (const Json& turn : *history) {
      if (!turn.is_array() || turn.size() != 2 || !turn[0].is_string() || !turn[1].is_string()) {
        wrong_column(row, "history", "a list of [instruction, response] pairs");
      }
      out.messages.push_back({{"role", "user"}, {"content", turn[0]}});
      out.messages.push_back({{"role", "assistant"}, {"content", turn[1]}});
    }
  }
  const std::string input = optional_text(row, "input");
  const std::string& instruction = text_of(row, "instruction");
  out.messages.push_back(
      {{"role", "user"}, {"content", input.empty() ? instruction : instruction + "\n" + input}});
  out.prompt_messages = out.messages.size();
  out.messages.push_back({{"role", "assistant"}, {"content", text_of(row, "output")}});
  read_template_columns(row, out);
  return out;
}

// In the order of priority: a table that fits several shapes is always the first of them.
const std::array<ShapeEntry, 7> kShapes = {{
    {RowKind::tokens,
     "pre-tokenised rows",
     [](const Json& row, const std::string&) -> std::string {
       return find(row, "input_ids") != nullptr ? "input_ids" : "";
     },
     read_tokens,
     {"labels", "completion_mask", "assistant_masks"}},
    {RowKind::text,
     "plain text",  // a column named by the user comes before any guess
     [](const Json& row, const std::string& field) -> std::string {
       return field != "text" && is_text(find(row, field)) ? field : "";
     },
     read_text,
     {}},
    {RowKind::messages_and_completion,
     "conversational prompt and completion",
     [](const Json& row, const std::string&) -> std::string {
       return is_conversation(find(row, "prompt")) && is_conversation(find(row, "completion"))
                  ? "prompt"
                  : "";
     },
     read_prompt_completion_messages,
     {"completion", "tools", "chat_template_kwargs"}},
    {RowKind::prompt_completion,
     "prompt and completion",
     [](const Json& row, const std::string&) -> std::string {
       return is_text(find(row, "prompt")) && is_text(find(row, "completion")) ? "prompt" : "";
     },
     read_prompt_completion,
     {"completion"}},
    {RowKind::messages,
     "conversations",
     [](const Json& row, const std::string&) -> std::string {
       for (const char* column : {"messages", "conversations", "conversation"}) {
         if (is_conversation(find(row, column))) {
           return column;
         }
       }
       return "";
     },
     read_conversation,
     {"system", "tools", "chat_template_kwargs"}},
    {RowKind::text,
     "plain text",
     [](const Json& row, const std::string&) -> std::string {
       return is_text(find(row, "text")) ? "text" : "";
     },
     read_text,
     {}},
    {RowKind::messages_and_completion,
     "instructions (Alpaca)",
     [](const Json& row, const std::string&) -> std::string {
       return is_text(find(row, "instruction")) && is_text(find(row, "output")) ? "instruction"
                                                                                : "";
     },
     read_alpaca,
     {"input", "output", "system", "history", "tools"}},
}};

std::vector<std::string> columns_of(std::span<const Json> rows) {
  std::vector<std::string> columns;
  for (const Json& row : rows) {
    for (const auto& [name, value] : row.items()) {
      if (std::ranges::find(columns, name) == columns.end()) {
        columns.push_back(name);
      }
    }
  }
  return columns;
}

}  // namespace

Shape::Shape(std::span<const Json> rows, const std::string& place, const std::string& text_field)
    : entry_(nullptr), text_field_(text_field) {
  const std::vector<std::string> columns = columns_of(rows);
  for (const ShapeEntry& entry : kShapes) {
    for (const Json& row : rows) {
      if (entry_ == nullptr) {
        column_ = entry.column_of(row, text_field);
        entry_ = column_.empty() ? nullptr : &entry;
      }
    }
  }
  if (entry_ == nullptr) {
    throw Error("D030",
                fmt::format("no known shape of data has the columns {}; the first row is {}",
                            fmt::join(columns, ", "), preview(rows[0])))
        .at(place)
        .hint(fmt::format("known are messages or conversations, prompt with completion, \"{}\", "
                          "instruction with output, and input_ids; name a text column with "
                          "--dataset_text_field",
                          text_field));
  }
  for (const std::string& column : columns) {
    const bool used =
        column == column_ || std::ranges::find(entry_->columns, column) != entry_->columns.end();
    (used ? used_ : ignored_).push_back(column);
  }
  for (const Json& row : rows) {
    try {
      entry_->read(row, {column_, &mapped_});
    } catch (const Error&) {
      // Reported with its place when the row's turn comes.
    }
  }
}

ShapedRow Shape::read(const Json& row, const std::string& place) const {
  std::map<std::string, std::string> mapped;
  try {
    return entry_->read(row, {column_, &mapped});
  } catch (Error& e) {
    throw Error(e.code(), fmt::format("{}; the row is {}", e.message(), preview(row)))
        .at(place)
        .hint(e.hint());
  }
}

RowKind Shape::kind() const { return entry_->kind; }

bool Shape::conversational() const {
  return entry_->kind == RowKind::messages || entry_->kind == RowKind::messages_and_completion;
}

std::string Shape::report() const {
  std::string out = fmt::format("{} from the column{} {}", entry_->name,
                                used_.size() > 1 ? "s" : "", fmt::join(used_, ", "));
  std::string roles;
  for (const auto& [from, to] : mapped_) {
    roles += fmt::format("{}{} → {}", roles.empty() ? "" : ", ", from, to);
  }
  if (!roles.empty()) {
    out += fmt::format("; roles {}", roles);
  }
  if (!ignored_.empty()) {
    out += fmt::format("; ignored: {}", fmt::join(ignored_, ", "));
  }
  return out;
}

std::string preview(const Json& row) {
  constexpr size_t kMost = 400;
  std::string text = row.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > kMost) {
    size_t end = kMost;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
      --end;  // not inside a character
    }
    text = text.substr(0, end) + "…";
  }
  return text;
}

}  // namespace sft
