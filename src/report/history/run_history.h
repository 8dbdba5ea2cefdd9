// What is known of a run from the lines of its metrics.jsonl, or from the trainer_state.json of one
// that TRL made. The page, the report, the terminal's summary and the model card are made of this
// and of nothing else.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "report/history/table.h"

namespace sft {

struct RunEvent {
  double time = 0;
  int64_t step = 0;
  std::string level, code, text, hint;
  std::string kind;  // "spike", "saved", "skipped", ...; "" where it is none of these
};

// A value that JSON has no number for.
struct BadValue {
  int64_t step = 0;
  std::string name, kind;  // "loss"; the line's: log or eval
};

struct RunSample {
  int64_t step = 0, index = 0;
  std::string prompt, text, reference;
};

class RunHistory {
 public:
  // One line of metrics.jsonl, without its end. `padded`: how many bytes behind it may be read.
  // A line that cannot be read is counted.
  void add(std::string_view line, size_t padded = 0);
  // log_history and what else transformers' Trainer keeps.
  void add_trainer_state(const Json& state);
  // All lines that have come are there: columns are whole.
  void settle();

  // The newest `run` line; an empty object where there is none.
  const Json& about() const { return about_; }
  const Table& logs() const { return logs_; }
  const Table& evals() const { return evals_; }
  const Table& times() const { return times_; }  // seconds by activity since the row before
  const std::map<int64_t, Table>& devices() const { return devices_; }
  const std::vector<RunEvent>& events() const { return events_; }
  const std::vector<BadValue>& not_finite() const { return not_finite_; }
  const std::vector<RunSample>& samples() const { return samples_; }
  // Null until they come.
  const Json& finish() const { return finish_; }
  const Json& end() const { return end_; }

  int64_t last_step() const { return last_step_; }
  std::optional<int64_t> total_steps() const { return total_steps_; }
  double last_time() const { return last_time_; }
  double begun() const { return begun_; }  // this start of it
  int64_t unreadable() const { return unreadable_; }
  bool empty() const { return about_.empty() && logs_.empty() && evals_.empty(); }

 private:
  void run_line(const Json& line);
  void event_line(const Json& line);
  void slow_line(std::string_view kind, const Json& line);
  bool fast_line(std::string_view line);

  Json about_ = Json::object(), finish_, end_;
  Table logs_, evals_, times_;
  std::map<int64_t, Table> devices_;
  std::vector<RunEvent> events_;
  std::vector<BadValue> not_finite_;
  std::vector<RunSample> samples_;
  int64_t last_step_ = 0, unreadable_ = 0;
  std::optional<int64_t> total_steps_;
  double last_time_ = 0, begun_ = 0;
  std::string copy_;  // of a line without room behind it
};

// Values that stand at the path in a JSON object, or the default.
std::string text_at(const Json& object, const char* key);
std::optional<double> number_at(const Json& object, const char* key);

}  // namespace sft
