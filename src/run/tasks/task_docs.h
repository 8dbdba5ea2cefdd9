// What a task asks of each of its rows: the context, the choices, the target. Used by
// run/tasks/run_task.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "chat/chat_template.h"
#include "chat/text_template.h"
#include "data/first_rows.h"
#include "hub/cache.h"
#include "run/tasks/task_file.h"

namespace sft {

struct TaskDoc {
  std::string place;
  std::string context;               // what the model reads
  std::vector<std::string> choices;  // of multiple choice
  std::vector<int64_t> gold;         // of choices; -1: none of them
  std::vector<std::string> targets;  // texts, of the other kinds
};

class TaskDocs {
 public:
  // Reads the rows. Errors of finding and reading data; D086 a row that does not give what the task
  // asks for. `chat`: contexts are rendered with it as conversations; null: plain text. At most
  // `limit` rows, 0: all.
  TaskDocs(const TaskFile& task, const HubEnvironment& hub, const ChatTemplate* chat,
           int64_t limit);

  const std::vector<TaskDoc>& docs() const { return docs_; }
  int64_t rows() const { return rows_; }  // of the split, with what `limit` leaves out
  // Between a context and what is compared with its continuation.
  const std::string& delimiter() const { return delimiter_; }

 private:
  struct Turn {
    std::string text, answer;  // answer: "" where none is given
    std::string between, after;
  };
  struct Template;

  std::vector<PlacedRow> read(const std::string& split, const HubEnvironment& hub) const;
  Json field(const Json& spec, const std::unique_ptr<Template>& made, const Json& row) const;
  std::vector<std::string> choices(const PlacedRow& row) const;
  std::string choice_at(const PlacedRow& row, int64_t number) const;
  Json target(const PlacedRow& row) const;
  std::string text(const PlacedRow& row) const;
  Turn turn(const PlacedRow& row, bool answered) const;
  std::string context(const PlacedRow& row) const;
  TaskDoc doc(const PlacedRow& row) const;

 public:
  ~TaskDocs();

 private:
  const TaskFile& task_;
  const ChatTemplate* chat_;
  std::string delimiter_;
  std::set<std::string> columns_;
  std::unique_ptr<Template> text_, target_, choice_, description_;
  std::vector<PlacedRow> examples_;
  std::vector<TaskDoc> docs_;
  int64_t rows_ = 0;
};

}  // namespace sft
