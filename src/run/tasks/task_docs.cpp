#include "run/tasks/task_docs.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/json_text.h"
#include "data/find/resolve.h"
#include "data/read/reader.h"

namespace sft {

namespace {

constexpr Code kNotGiven = "D086";

// The names that `datasets` has for its readers: then data_files says what is read.
constexpr std::array kReaders{"json", "csv", "parquet", "text", "arrow"};

bool is_digits(const std::string& text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// With a delimiter between them where neither has white space there.
std::string joined(const std::string& a, const std::string& b, const std::string& delimiter) {
  if (a.empty() || b.empty()) {
    return a + b;
  }
  return is_blank(a.back()) || is_blank(b.front()) ? a + b : a + delimiter + b;
}

}  // namespace

struct TaskDocs::Template : TextTemplate {
  using TextTemplate::TextTemplate;
};

TaskDocs::~TaskDocs() = default;

std::vector<PlacedRow> TaskDocs::read(const std::string& split, const HubEnvironment& hub) const {
  DatasetSource source{.name = task_.dataset_path,
                       .config = {},
                       .data_dir = task_.data_dir,
                       .data_files = task_.data_files};
  if (!task_.dataset_name.empty()) {
    source.config = task_.dataset_name;
  }
  if (std::ranges::find(kReaders, source.name) != kReaders.end()) {
    source.name = ".";
    source.config.reset();
    if (source.data_files.is_null() && source.data_dir.empty()) {
      throw Error("C240", fmt::format("dataset_path is {}, and there are no data_files",
                                      task_.dataset_path))
          .at(task_.file)
          .hint("dataset_kwargs: {data_files: {test: questions.jsonl}}");
    }
  }
  std::vector<PlacedRow> rows;
  for (const std::filesystem::path& file : resolve_dataset(source, split, hub).files) {
    const auto reader = open_reader(file);
    for (RawRow row; reader->next(row);) {
      rows.push_back({row.place(), row.json()});
    }
  }
  if (rows.empty()) {
    throw Error("D048", fmt::format("the split {} of the task {} has no rows", split, task_.task))
        .at(task_.file);
  }
  return rows;
}

TaskDocs::TaskDocs(const TaskFile& task, const HubEnvironment& hub, const ChatTemplate* chat,
                   int64_t limit)
    : task_(task), chat_(chat), delimiter_(task.target_delimiter) {
  if (chat != nullptr && (task.gen_prefix.empty() || is_blank(task.gen_prefix.back()))) {
    delimiter_.clear();
  }
  const std::vector<PlacedRow> rows = read(task.split, hub);
  for (const PlacedRow& row : rows) {
    for (const auto& [name, value] : row.value.items()) {
      columns_.insert(name);
    }
  }
  const auto make = [&](const Json& spec, const char* key) -> std::unique_ptr<Template> {
    const bool is_template = spec.is_string() && !columns_.contains(spec.get<std::string>());
    return is_template ? std::make_unique<Template>(spec.get<std::string>(),
                                                    fmt::format("{}: {}", task.file, key))
                       : nullptr;
  };
  text_ = make(task.doc_to_text, "doc_to_text");
  target_ = make(task.doc_to_target, "doc_to_target");
  choice_ = make(task.doc_to_choice, "doc_to_choice");
  description_ = make(task.description, "description");
  if (task.num_fewshot > 0) {
    examples_ = task.fewshot_split == task.split ? rows : read(task.fewshot_split, hub);
    if (static_cast<int64_t>(examples_.size()) < task.num_fewshot) {
      throw Error(kNotGiven, fmt::format("num_fewshot is {}, and the split {} has {} rows",
                                         task.num_fewshot, task.fewshot_split, examples_.size()))
          .at(task.file)
          .hint("lower num_fewshot");
    }
    examples_.resize(static_cast<size_t>(task.num_fewshot));
  }
  rows_ = static_cast<int64_t>(rows.size());
  for (const PlacedRow& row : rows) {
    if (limit > 0 && static_cast<int64_t>(docs_.size()) == limit) {
      break;
    }
    try {
      docs_.push_back(doc(row));
    } catch (const Error& e) {
      throw Error(e).at(row.place);
    }
  }
}

// A column, or what a template makes of the row.
Json TaskDocs::field(const Json& spec, const std::unique_ptr<Template>& made,
                     const Json& row) const {
  if (made) {
    return made->render(row);
  }
  return spec.is_string() ? row.value(spec.get<std::string>(), Json()) : spec;
}

std::vector<std::string> TaskDocs::choices(const PlacedRow& row) const {
  Json value = field(task_.doc_to_choice, choice_, row.value);
  if (choice_) {
    value = python_literal(value.get<std::string>());
  }
  std::vector<std::string> out;
  if (value.is_array() || value.is_object()) {
    for (const auto& [key, choice] : value.items()) {
      if (!choice.is_string()) {
        value = Json();
        break;
      }
      out.push_back(choice.get<std::string>());
    }
  }
  if (out.size() < 2) {
    throw Error(
        kNotGiven,
        fmt::format("doc_to_choice gives {}, wanted a list of at least two texts", to_text(value)))
        .hint("doc_to_choice names a column of lists, or is a list, or a template that writes one");
  }
  return out;
}

std::string TaskDocs::choice_at(const PlacedRow& row, int64_t number) const {
  const std::vector<std::string> all = choices(row);
  if (number < 0 || number >= static_cast<int64_t>(all.size())) {
    throw Error(kNotGiven, fmt::format("doc_to_target gives {}, and the row has {} choices", number,
                                       all.size()))
        .hint("the target is a choice's number, from 0");
  }
  return all[static_cast<size_t>(number)];
}

// A number, a text, or a list of them.
Json TaskDocs::target(const PlacedRow& row) const {
  const Json value = field(task_.doc_to_target, target_, row.value);
  if (value.is_null()) {
    throw Error(kNotGiven, fmt::format("the row has no {}", to_text(task_.doc_to_target)))
        .hint("give each row a target");
  }
  if (!target_) {
    return value;
  }
  const std::string& text = value.get_ref<const std::string&>();
  if (is_digits(text) && !task_.doc_to_choice.is_null()) {
    return std::stoll(text.substr(0, 18));
  }
  if (text.size() >= 2 && text.front() == '[' && text.back() == ']') {
    try {
      return python_literal(text);
    } catch (const Error&) {  // no list: the text itself
    }
  }
  return value;
}

std::string TaskDocs::text(const PlacedRow& row) const {
  const Json value = field(task_.doc_to_text, text_, row.value);
  if (!value.is_string()) {
    throw Error(kNotGiven, fmt::format("doc_to_text gives {}, wanted a text", to_text(value)))
        .hint("tasks whose choices stand in the context are not built");
  }
  return value.get<std::string>();
}

TaskDocs::Turn TaskDocs::turn(const PlacedRow& row, bool answered) const {
  Turn turn;
  turn.text = text(row);
  if (answered) {
    const Json wanted = target(row);
    const Json& one = wanted.is_array() && !wanted.empty() ? wanted[0] : wanted;
    std::string answer;
    if (one.is_number_integer() && !task_.doc_to_choice.is_null()) {
      answer = choice_at(row, one.get<int64_t>());
    } else {
      answer = one.is_string() ? one.get<std::string>() : to_text(one);
    }
    turn.between = task_.gen_prefix.empty() ? task_.target_delimiter : "";
    turn.answer = joined(task_.gen_prefix, answer, " ");
    turn.after = task_.fewshot_delimiter;
  } else if (!task_.gen_prefix.empty()) {
    turn.answer = task_.gen_prefix;
  }
  if (!task_.gen_prefix.empty()) {
    const bool parted = joined(turn.text, task_.gen_prefix, "").empty() ||
                        is_blank(turn.text.empty() ? ' ' : turn.text.back()) ||
                        is_blank(task_.gen_prefix.front());
    turn.between = parted ? "" : task_.target_delimiter;
  }
  return turn;
}

std::string TaskDocs::context(const PlacedRow& row) const {
  const std::string description =
      description_ ? description_->render(row.value) : task_.description;
  std::vector<Turn> turns;
  for (const PlacedRow& example : examples_) {
    turns.push_back(turn(example, true));
  }
  turns.push_back(turn(row, false));
  if (chat_ == nullptr) {
    std::string all = description;
    for (const Turn& one : turns) {
      all += one.text + one.between + one.answer + one.after;
    }
    return all;
  }
  Json messages = Json::array();
  if (!description.empty()) {
    messages.push_back({{"role", "system"}, {"content", description}});
  }
  for (const Turn& one : turns) {
    messages.push_back({{"role", "user"}, {"content", one.text}});
    if (&one != &turns.back()) {
      messages.push_back({{"role", "assistant"}, {"content", one.answer}});
    }
  }
  RenderOptions render;
  render.add_generation_prompt = true;
  return chat_->render(messages, render).text + task_.gen_prefix;
}

TaskDoc TaskDocs::doc(const PlacedRow& row) const {
  TaskDoc out{
      .place = row.place, .context = context(row), .choices = {}, .gold = {}, .targets = {}};
  const Json wanted = target(row);
  if (task_.output == TaskFile::Output::multiple_choice) {
    out.choices = choices(row);
    const auto add = [&](const Json& one) {
      const auto count = static_cast<int64_t>(out.choices.size());
      if (one.is_number_integer()) {
        const int64_t gold = one.get<int64_t>();
        out.gold.push_back(gold >= 0 && gold < count ? gold : -1);
        return;
      }
      const auto found =
          std::ranges::find(out.choices, one.is_string() ? one.get<std::string>() : to_text(one));
      out.gold.push_back(found == out.choices.end() ? -1 : found - out.choices.begin());
    };
    if (wanted.is_array()) {
      std::ranges::for_each(wanted, add);
    } else {
      add(wanted);
    }
    if (out.gold.empty() || std::ranges::all_of(out.gold, [](int64_t g) { return g < 0; })) {
      throw Error(kNotGiven, fmt::format("doc_to_target gives {}, and the row has {} choices",
                                         to_text(wanted), out.choices.size()))
          .hint("the target is a choice's number, from 0, or its text");
    }
    return out;
  }
  const auto add = [&](const Json& one) {
    if (one.is_number_integer() && !task_.doc_to_choice.is_null()) {
      out.targets.push_back(choice_at(row, one.get<int64_t>()));
    } else {
      out.targets.push_back(one.is_string() ? one.get<std::string>() : to_text(one));
    }
  };
  if (wanted.is_array()) {
    std::ranges::for_each(wanted, add);
  } else {
    add(wanted);
  }
  if (out.targets.empty()) {
    throw Error(kNotGiven, "doc_to_target gives an empty list").hint("give each row a target");
  }
  return out;
}

}  // namespace sft
