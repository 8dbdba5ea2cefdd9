// `--report_to trackio`: rows in the tables that trackio's dashboard reads, in the SQLite file of
// the project.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "core/json.h"
#include "report/trackers/tracker.h"

namespace sft {

struct SqliteLibrary;

class Trackio final : public Tracker {
 public:
  // Makes the file and the tables that are missing. S061 without SQLite's library, or where the
  // file is none of trackio's.
  Trackio(const std::filesystem::path& file, std::string run_name);
  ~Trackio() override;

  std::string name() const override { return "trackio"; }
  void line(const Json& line) override;

 private:
  struct Statement;
  void run(const char* sql);
  void insert(const char* sql, std::initializer_list<Json> values);
  void check_columns(const char* table, std::initializer_list<const char*> columns);
  void log(const Json& line);

  const SqliteLibrary& sqlite_;
  std::filesystem::path file_;
  void* database_ = nullptr;
  std::string run_name_, run_id_;
};

// TRACKIO_DIR, else HF_HOME/trackio, else ~/.cache/huggingface/trackio.
std::unique_ptr<Tracker> make_trackio(const TrainOptions& options, const Variables& variables,
                                      const Logger& log);

}  // namespace sft
