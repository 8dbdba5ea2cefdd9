#include "data/rows/shapes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <set>

#include "core/error.h"
#include "core/json_text.h"
#include "core/strings.h"
#include "data/rows/other_kinds.h"

namespace sft {

struct ShapeContext {
  std::string column;  // of text or of the conversation
  const MessageRules& rules;
  std::map<std::string, std::string>* mapped;
};

// `column_of` says which column of a row makes it this shape, "" when it is not this shape.
struct ShapeEntry {
  RowKind kind;
  std::string_view name;
  std::vector<std::string_view> deciding;  // the columns that `column_of` looks at by itself
  std::string (*column_of)(const Json& row, const ShapeOptions& options);
  ShapedRow (*read)(const Json& row, const ShapeContext& context);
  std::vector<std::string_view> columns;  // used when present, beside the deciding one
};

namespace {

constexpr std::array<std::string_view, 2> kTemplateColumns = {"tools", "chat_template_kwargs"};
const std::vector<std::string_view> kConversationColumns = {"messages", "conversations",
                                                            "conversation"};

const Json* find(const Json& row, std::string_view column) {
  const auto found = row.find(std::string(column));
  return found == row.end() || found->is_null() ? nullptr : &*found;
}

bool is_text(const Json* value) { return value != nullptr && value->is_string(); }

// The list of messages that a value is, as it is or as JSON text, which is kept in `parsed`; null
// otherwise.
const Json* message_list(const Json* value, const MessageRules& rules, Json& parsed) {
  const Json* list = value;
  if (is_text(value) && value->get_ref<const std::string&>().starts_with('[')) {
    parsed = json_of(value->get_ref<const std::string&>());
    list = &parsed;
  }
  const auto speaks = [&](const Json& message) {
    return message.is_object() &&
           (rules.role_key.empty() ? message.contains("role") || message.contains("from")
                                   : message.contains(rules.role_key));
  };
  const bool fits = list != nullptr && list->is_array() && (list->empty() || speaks(list->front()));
  return fits ? list : nullptr;
}

bool is_conversation(const Json* value, const MessageRules& rules) {
  Json parsed;
  const Json* list = message_list(value, rules, parsed);
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

// Appends the messages of a column to the row's.
void read_messages(const Json& row, const std::string& column, const ShapeContext& context,
                   ShapedRow& out) {
  Json parsed;
  const Json* list = message_list(find(row, column), context.rules, parsed);
  if (list == nullptr) {
    wrong_column(row, column, "a list of messages");
  }
  for (const Json& message : *list) {
    const std::optional<bool> trained = training_switch(message);
    out.messages.push_back(normalise_message(message, context.rules, *context.mapped));
    if (trained || !out.trained_messages.empty()) {
      out.trained_messages.resize(out.messages.size(), true);
    }
    if (!trained) {
      continue;
    }
    if (*trained && out.messages.back()["role"] != "assistant") {
      if (message.contains("train")) {  // `weight` and `loss` of others mean nothing
        throw Error("D039", fmt::format("a message of the {} asks to be trained",
                                        out.messages.back()["role"].get<std::string>()))
            .hint("only the assistant's turns can be trained by themselves");
      }
    }
    out.trained_messages.back() = *trained;
  }
}

// A template would print a tool that is text in quotes, as no model was trained to read it.
void check_tools(const Json& tools) {
  for (size_t i = 0; i < tools.size(); ++i) {
    if (!tools[i].is_object()) {
      throw Error("D038",
                  fmt::format("tool {} of the column \"tools\" is {} {}, wanted an object", i + 1,
                              tools[i].is_array() ? "an" : "a", tools[i].type_name()))
          .hint(
              "write tools as objects, or the whole list as one JSON text: \"tools\": \"[{...}]\"");
    }
  }
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
      parsed = text.empty() ? Json() : json_of(text);
    }
    const bool is_tools = column == "tools";
    if (!parsed.is_null() && !(is_tools ? parsed.is_array() : parsed.is_object())) {
      wrong_column(row, column, is_tools ? "a list, or JSON text of one" : "an object");
    }
    if (is_tools) {
      check_tools(parsed);
    }
    (is_tools ? out.tools : out.template_kwargs) = std::move(parsed);
  }
}

void put_system_first(const std::string& system, ShapedRow& row) {
  Json& messages = row.messages;
  if (!system.empty() && (messages.empty() || messages[0]["role"] != "system")) {
    messages.insert(messages.begin(), Json{{"role", "system"}, {"content", system}});
    if (!row.trained_messages.empty()) {
      row.trained_messages.insert(row.trained_messages.begin(), false);
    }
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
  if (find(row, "seq_lengths") != nullptr) {
    out.seq_lengths = integers(row, "seq_lengths");
    const int64_t sum = std::accumulate(out.seq_lengths.begin(), out.seq_lengths.end(), int64_t{0});
    if (sum != static_cast<int64_t>(out.input_ids.size()) ||
        std::ranges::any_of(out.seq_lengths, [](int32_t n) { return n <= 0; })) {
      throw Error("D034", fmt::format("this row has {} input_ids and seq_lengths of {} in all",
                                      out.input_ids.size(), sum));
    }
  }
  out.completion_mask = mask_of(row, "completion_mask");
  out.assistant_mask = mask_of(row, "assistant_masks");
  out.names_completion = find(row, "prompt") != nullptr && find(row, "completion") != nullptr;
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
  ShapedRow out{.kind = RowKind::messages_and_completion};
  read_messages(row, "prompt", context, out);
  out.prompt_messages = out.messages.size();
  read_messages(row, "completion", context, out);
  read_template_columns(row, out);
  return out;
}

ShapedRow read_conversation(const Json& row, const ShapeContext& context) {
  ShapedRow out{.kind = RowKind::messages};
  read_messages(row, context.column, context, out);
  if (const Json* system = find(row, "system"); is_text(system) && !out.messages.empty()) {
    put_system_first(system->get<std::string>(), out);
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
  put_system_first(optional_text(row, "system"), out);
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
     {"input_ids"},
     [](const Json& row, const ShapeOptions&) -> std::string {
       return find(row, "input_ids") != nullptr ? "input_ids" : "";
     },
     read_tokens,
     {"labels", "completion_mask", "assistant_masks", "seq_lengths", "prompt", "completion"}},
    {RowKind::text,
     "plain text",  // a column named by the user comes before any guess
     {},
     [](const Json& row, const ShapeOptions& options) -> std::string {
       const std::string& field = options.text_field;
       return field != "text" && is_text(find(row, field)) ? field : "";
     },
     read_text,
     {}},
    {RowKind::messages_and_completion,
     "conversational prompt and completion",
     {"prompt", "completion"},
     [](const Json& row, const ShapeOptions& options) -> std::string {
       return is_conversation(find(row, "prompt"), options.messages) &&
                      is_conversation(find(row, "completion"), options.messages)
                  ? "prompt"
                  : "";
     },
     read_prompt_completion_messages,
     {"completion", "tools", "chat_template_kwargs"}},
    {RowKind::prompt_completion,
     "prompt and completion",
     {"prompt", "completion"},
     [](const Json& row, const ShapeOptions&) -> std::string {
       return is_text(find(row, "prompt")) && is_text(find(row, "completion")) ? "prompt" : "";
     },
     read_prompt_completion,
     {"completion"}},
    {RowKind::messages,
     "conversations",
     kConversationColumns,
     [](const Json& row, const ShapeOptions& options) -> std::string {
       if (!options.messages_field.empty()) {
         const bool is = is_conversation(find(row, options.messages_field), options.messages);
         return is ? options.messages_field : "";
       }
       for (const std::string_view column : kConversationColumns) {
         if (is_conversation(find(row, column), options.messages)) {
           return std::string(column);
         }
       }
       return "";
     },
     read_conversation,
     {"system", "tools", "chat_template_kwargs"}},
    {RowKind::text,
     "plain text",
     {"text"},
     [](const Json& row, const ShapeOptions&) -> std::string {
       return is_text(find(row, "text")) ? "text" : "";
     },
     read_text,
     {}},
    {RowKind::messages_and_completion,
     "instructions (Alpaca)",
     {"instruction", "output"},
     [](const Json& row, const ShapeOptions&) -> std::string {
       return is_text(find(row, "instruction")) && is_text(find(row, "output")) ? "instruction"
                                                                                : "";
     },
     read_alpaca,
     {"input", "output", "system", "history", "tools"}},
}};

std::vector<std::string> columns_of(std::span<const Json> rows) {
  std::vector<std::string> columns;
  std::set<std::string> seen;  // a row may have a million
  for (const Json& row : rows) {
    for (const auto& [name, value] : row.items()) {
      if (seen.insert(name).second) {
        columns.push_back(name);
      }
    }
  }
  return columns;
}

// For an error's sentence.
std::string names_of_columns(std::span<const Json> rows) {
  constexpr size_t kShown = 30;
  std::vector<std::string> names = columns_of(rows);
  const size_t more = names.size() > kShown ? names.size() - kShown : 0;
  names.resize(names.size() - more);
  return fmt::format(
      "{}{}", fmt::join(names, ", "),
      more == 0 ? "" : fmt::format(" and {} more", with_commas(static_cast<int64_t>(more))));
}

// "a=b c=d", "a=b,c=d" -> a map.
std::map<std::string, std::string> read_map(const std::vector<std::string>& words,
                                            std::string_view option, bool lower) {
  std::map<std::string, std::string> map;
  for (const std::string& word : words) {
    for (const std::string& pair : split(word, ',')) {
      const size_t equals = pair.find('=');
      const std::string from(trim(std::string_view(pair).substr(0, equals)));
      const std::string to(
          equals == std::string::npos ? "" : trim(std::string_view(pair).substr(equals + 1)));
      if (from.empty() || to.empty()) {
        throw Error("D037", fmt::format("--{} has \"{}\", wanted NAME=NAME", option, pair))
            .hint(fmt::format("--{} one=two three=four", option));
      }
      map[lower ? to_lower(from) : from] = to;
    }
  }
  return map;
}

Json renamed(const Json& row, const std::map<std::string, std::string>& columns) {
  Json out = Json::object();
  for (const auto& [name, value] : row.items()) {
    const auto found = columns.find(name);
    out[found == columns.end() ? name : found->second] = value;
  }
  return out;
}

}  // namespace

ShapeOptions::ShapeOptions(const DataOptions& o)
    : text_field(o.dataset_text_field),
      messages_field(o.messages_field.value_or("")),
      column_map(read_map(o.column_map, "column_map", false)),
      messages{o.message_role_key.value_or(""), o.message_content_key.value_or(""),
               read_map(o.role_map, "role_map", true)} {}

RowShape::Fit RowShape::fit_of(const Json& row) const {
  for (const ShapeEntry& entry : kShapes) {
    if (std::string column = entry.column_of(row, options_); !column.empty()) {
      return {&entry, std::move(column)};
    }
  }
  return {};
}

RowShape::RowShape(std::span<const Json> given, const std::string& place, ShapeOptions options,
                   std::span<const std::string> more)
    : options_(std::move(options)) {
  std::vector<Json> rows;
  for (const Json& row : given) {
    rows.push_back(options_.column_map.empty() ? row : renamed(row, options_.column_map));
  }
  for (const Json& row : rows) {
    Fit fit = fit_of(row);
    const bool known = std::ranges::any_of(
        fits_, [&](const Fit& f) { return f.entry == fit.entry && f.column == fit.column; });
    if (fit.entry != nullptr && !known) {
      kinds_.insert(fit.entry->kind);
      fits_.push_back(std::move(fit));
    }
  }
  std::ranges::stable_sort(fits_, {}, &Fit::entry);
  if (fits_.empty()) {
    if (const OtherKind kind = other_kind(rows); !kind.name.empty()) {
      throw Error("D030", fmt::format("these are {}; the columns are {}, the first row is {}",
                                      kind.name, names_of_columns(rows), preview(rows[0])))
          .at(place)
          .hint(kind.hint);
    }
    throw Error("D030",
                fmt::format("no known shape of data has the columns {}; the first row is {}",
                            names_of_columns(rows), preview(rows[0])))
        .at(place)
        .hint(
            fmt::format("known are messages or conversations, prompt with completion, \"{}\", "
                        "instruction with output, and input_ids; name a text column with "
                        "--dataset_text_field, messages with --messages_field, or rename columns: "
                        "--column_map question=prompt answer=completion",
                        options_.text_field));
  }
  note_columns(rows, more);
  for (const Json& row : rows) {
    try {
      const Fit fit = choose(row);
      const ShapedRow read = fit.entry->read(row, {fit.column, options_.messages, &mapped_});
      has_switches_ = has_switches_ || !read.trained_messages.empty();
    } catch (const Error&) {
      // Reported with its place when the row's turn comes.
    }
  }
}

void RowShape::note_columns(std::span<const Json> rows, std::span<const std::string> more) {
  std::vector<std::string> columns = columns_of(rows);
  std::set<std::string> seen(columns.begin(), columns.end());
  for (const std::string& name : more) {
    const auto to = options_.column_map.find(name);
    const std::string& column = to == options_.column_map.end() ? name : to->second;
    if (seen.insert(column).second) {
      columns.push_back(column);
    }
  }
  for (const std::string& column : columns) {
    const bool used = std::ranges::any_of(fits_, [&](const Fit& fit) {
      return column == fit.column ||
             std::ranges::find(fit.entry->columns, column) != fit.entry->columns.end();
    });
    (used ? used_ : ignored_).push_back(column);
  }
  std::set<std::string> read = {options_.text_field, options_.messages_field};
  for (const ShapeEntry& entry : kShapes) {
    read.insert(entry.deciding.begin(), entry.deciding.end());
    read.insert(entry.columns.begin(), entry.columns.end());
  }
  for (const auto& [from, to] : options_.column_map) {
    read.insert(from);
  }
  read.erase("");
  read_.assign(read.begin(), read.end());
}

// The shape of a row: its own, unless it has what decides for the data as a whole in another form
// (then the error is about that), or lacks the column that the user named.
RowShape::Fit RowShape::choose(const Json& row) const {
  const Fit& usual = fits_.front();
  Fit own = fit_of(row);
  const bool named = (usual.entry->kind == RowKind::text && usual.column != "text") ||
                     (!options_.messages_field.empty() && usual.column == options_.messages_field);
  const bool less = own.entry == nullptr || own.entry > usual.entry;
  return less && (own.entry == nullptr || named ||
                  (own.column != usual.column && find(row, usual.column) != nullptr))
             ? usual
             : own;
}

ShapedRow RowShape::read(const Json& row, const std::string& place) const {
  std::map<std::string, std::string> mapped;
  try {
    const auto read = [&](const Json& named) {
      const Fit fit = choose(named);
      return fit.entry->read(named, {fit.column, options_.messages, &mapped});
    };
    return options_.column_map.empty() ? read(row) : read(renamed(row, options_.column_map));
  } catch (Error& e) {
    throw Error(e.code(), fmt::format("{}; the row is {}", e.message(), preview(row)))
        .at(place)
        .hint(e.hint());
  }
}

std::string RowShape::report() const {
  std::vector<std::string_view> names;
  for (const Fit& fit : fits_) {
    if (std::ranges::find(names, fit.entry->name) == names.end()) {
      names.push_back(fit.entry->name);
    }
  }
  std::string out = fmt::format("{} from the column{} {}", fmt::join(names, ", "),
                                used_.size() > 1 ? "s" : "", fmt::join(used_, ", "));
  std::string roles;
  for (const auto& [from, to] : mapped_) {
    roles += fmt::format("{}{} → {}", roles.empty() ? "" : ", ", from, to);
  }
  if (!roles.empty()) {
    out += fmt::format("; roles {}", roles);
  }
  if (!options_.column_map.empty()) {
    std::string renames;
    for (const auto& [from, to] : options_.column_map) {
      renames += fmt::format("{}{} → {}", renames.empty() ? "" : ", ", from, to);
    }
    out += fmt::format("; columns {}", renames);
  }
  if (!ignored_.empty()) {
    out += fmt::format("; ignored: {}", fmt::join(ignored_, ", "));
  }
  return out;
}

std::string preview(const Json& row) {
  constexpr size_t kMost = 400;
  std::string text = to_text(row);
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
