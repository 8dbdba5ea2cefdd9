#include "report/history/run_history.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <cmath>
#include <limits>

#include "core/json_text.h"

namespace sft {

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr size_t kMostEvents = 20000;  // kept; the first ones and all counts stay in the file
constexpr size_t kMostSamples = 20000;

// The beginning that RunLog gives every line.
std::string_view kind_of_line(std::string_view line) {
  constexpr std::string_view kBegin = "{\"k\":\"";
  if (!line.starts_with(kBegin)) {
    return {};
  }
  line.remove_prefix(kBegin.size());
  const size_t end = line.find('"');
  return end == std::string_view::npos ? std::string_view() : line.substr(0, end);
}

bool is_numbers(std::string_view kind) {
  return kind == "log" || kind == "eval" || kind == "time" || kind == "dev";
}

thread_local simdjson::ondemand::parser parser;

}  // namespace

std::string text_at(const Json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::optional<double> number_at(const Json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_number() ? std::optional(found->get<double>())
                                                     : std::nullopt;
}

void RunHistory::add(std::string_view line, size_t padded) {
  if (line.empty()) {
    return;
  }
  const std::string_view kind = kind_of_line(line);
  if (is_numbers(kind)) {
    if (padded < simdjson::SIMDJSON_PADDING) {
      copy_.assign(line);
      copy_.reserve(line.size() + simdjson::SIMDJSON_PADDING);
      line = copy_;
    }
    unreadable_ += fast_line(line) ? 0 : 1;
    return;
  }
  const Json value = json_of(line);
  if (!value.is_object()) {
    ++unreadable_;
    return;
  }
  slow_line(text_at(value, "k"), value);
}

// Rows of numbers, of which there may be millions: no value is made of them but the numbers.
bool RunHistory::fast_line(std::string_view line) {
  simdjson::ondemand::document document;
  const simdjson::padded_string_view view(line.data(), line.size(),
                                          line.size() + simdjson::SIMDJSON_PADDING);
  if (parser.iterate(view).get(document) != simdjson::SUCCESS) {
    return false;
  }
  simdjson::ondemand::object object;
  if (document.get_object().get(object) != simdjson::SUCCESS) {
    return false;
  }
  struct Value {
    std::string_view name;
    double number;
  };
  Value values[64];
  size_t count = 0;
  std::string_view kind;
  double step = static_cast<double>(last_step_), time = last_time_, device = 0;
  for (auto field : object) {
    std::string_view key;
    if (field.error() != simdjson::SUCCESS || field.unescaped_key().get(key) != simdjson::SUCCESS) {
      return false;
    }
    simdjson::ondemand::value value;
    simdjson::ondemand::json_type type{};
    if (field.value().get(value) != simdjson::SUCCESS ||
        value.type().get(type) != simdjson::SUCCESS) {
      return false;
    }
    if (type == simdjson::ondemand::json_type::number) {
      double number = 0;
      if (value.get_double().get(number) != simdjson::SUCCESS) {
        return false;
      }
      if (key == "step") {
        step = number;
      } else if (key == "t") {
        time = number;
      } else if (key == "device") {
        device = number;
      } else if (count < std::size(values)) {
        values[count++] = {key, number};
      }
    } else if (type == simdjson::ondemand::json_type::null) {
      if (count < std::size(values)) {
        values[count++] = {key, kNone};
      }
    } else if (type == simdjson::ondemand::json_type::string && key == "k") {
      if (value.get_string().get(kind) != simdjson::SUCCESS) {
        return false;
      }
    } else if (type == simdjson::ondemand::json_type::array && key == "nonfinite") {
      simdjson::ondemand::array names;
      if (value.get_array().get(names) != simdjson::SUCCESS) {
        return false;
      }
      for (auto item : names) {
        std::string_view name;
        if (item.get_string().get(name) == simdjson::SUCCESS) {
          not_finite_.push_back({static_cast<int64_t>(step), std::string(name), std::string(kind)});
        }
      }
    }
  }
  if (!std::isfinite(step) || std::abs(step) > 1e15) {
    return false;
  }
  Table& table = kind == "log"    ? logs_
                 : kind == "eval" ? evals_
                 : kind == "time" ? times_
                                  : devices_[static_cast<int64_t>(device)];
  if (kind == "dev" &&
      !table.empty()) {  // what a device took is no less taken where steps are repeated
    step = std::max(step, table.steps().back());
  }
  table.begin_row(step, time);
  for (size_t i = 0; i < count; ++i) {
    table.set(values[i].name, values[i].number);
  }
  last_time_ = std::max(last_time_, time);
  if (kind == "log" || kind == "eval") {
    last_step_ = std::max(last_step_, static_cast<int64_t>(step));
  }
  return true;
}

// A start: of another run, whose rows are the file's from here on, or of the same one, whose later
// rows are done again.
void RunHistory::run_line(const Json& line) {
  const std::string from = text_at(line, "resumed_from");
  if (from.empty()) {
    const int64_t unreadable = unreadable_;
    *this = RunHistory();
    unreadable_ = unreadable;
  } else {
    const auto step = number_at(line, "step").value_or(0);
    const int64_t done = last_step_;
    for (Table* table : {&logs_, &evals_, &times_}) {
      table->keep_until(step);
    }
    std::erase_if(not_finite_,
                  [&](const BadValue& n) { return static_cast<double>(n.step) > step; });
    std::erase_if(samples_, [&](const RunSample& s) { return static_cast<double>(s.step) > step; });
    last_step_ = static_cast<int64_t>(step);
    events_.push_back({number_at(line, "t").value_or(0), last_step_, "info", "",
                       done > last_step_
                           ? fmt::format("resumed from {}; steps {} to {} are done again", from,
                                         last_step_ + 1, done)
                           : fmt::format("resumed from {}", from),
                       "", "resumed"});
  }
  about_ = line;
  finish_ = Json();
  end_ = Json();
  begun_ = number_at(line, "t").value_or(0);
  if (const auto total = number_at(line, "total_steps")) {
    total_steps_ = static_cast<int64_t>(*total);
  }
}

void RunHistory::event_line(const Json& line) {
  if (events_.size() < kMostEvents) {
    events_.push_back({number_at(line, "t").value_or(0),
                       static_cast<int64_t>(number_at(line, "step").value_or(0)),
                       text_at(line, "level"), text_at(line, "code"), text_at(line, "text"),
                       text_at(line, "hint"), text_at(line, "event")});
  }
}

void RunHistory::slow_line(std::string_view kind, const Json& line) {
  last_time_ = std::max(last_time_, number_at(line, "t").value_or(0));
  if (kind == "run") {
    run_line(line);
  } else if (kind == "event") {
    event_line(line);
  } else if (kind == "sample") {
    if (samples_.size() < kMostSamples) {
      samples_.push_back({static_cast<int64_t>(number_at(line, "step").value_or(0)),
                          static_cast<int64_t>(number_at(line, "index").value_or(0)),
                          text_at(line, "prompt"), text_at(line, "text"),
                          text_at(line, "reference")});
    }
  } else if (kind == "finish") {
    finish_ = line;
  } else if (kind == "end") {
    end_ = line;
    last_step_ = std::max(last_step_, static_cast<int64_t>(number_at(line, "step").value_or(0)));
  } else if (is_numbers(kind)) {  // written by another program, with its keys in another order
    const std::string text = to_text(line);
    std::string padded = text;
    padded.reserve(text.size() + simdjson::SIMDJSON_PADDING);
    unreadable_ += fast_line(padded) ? 0 : 1;
  }
}

void RunHistory::add_trainer_state(const Json& state) {
  if (const auto total = number_at(state, "max_steps")) {
    total_steps_ = static_cast<int64_t>(*total);
  }
  const auto found = state.find("log_history");
  if (found == state.end() || !found->is_array()) {
    ++unreadable_;
    return;
  }
  for (const Json& row : *found) {
    if (!row.is_object()) {
      ++unreadable_;
      continue;
    }
    const double step = number_at(row, "step").value_or(0);
    if (row.contains("train_runtime") && !row.contains("loss")) {
      finish_ = row;
      continue;
    }
    Table& table = row.contains("eval_loss") || row.contains("eval_runtime") ? evals_ : logs_;
    table.begin_row(step, 0);
    for (const auto& [name, value] : row.items()) {
      if (name == "step") {
        continue;
      }
      if (value.is_number()) {
        table.set(name, value.get<double>());
      } else if (value.is_null()) {
        table.set(name, kNone);
        not_finite_.push_back({static_cast<int64_t>(step), name, "log"});
      }
    }
    last_step_ = std::max(last_step_, static_cast<int64_t>(step));
  }
  settle();
}

void RunHistory::settle() {
  logs_.pad();
  evals_.pad();
  times_.pad();
  for (auto& [index, table] : devices_) {
    table.pad();
  }
}

}  // namespace sft
