// `--report_to wandb`: an offline run folder, which `wandb sync` uploads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "report/trackers/proto_message.h"
#include "report/trackers/record_file.h"
#include "report/trackers/tracker.h"

namespace sft {

struct WandbRun {
  std::string id, project, entity, name, notes, group, job_type;
  std::vector<std::string> tags;
  bool resumed = false;
};

// The records of a `run-<id>.wandb` file: LevelDB's log in blocks of 32 KiB, with W&B's own header
// and with the plain CRC-32 over type and data.
class WandbFile {
 public:
  explicit WandbFile(const std::filesystem::path& path);
  void append(std::string_view record);
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  RecordFile file_;
  uint64_t written_ = 0;
};

class Wandb final : public Tracker {
 public:
  // `folder` is the offline-run-... folder.
  // `on_end` is called when the run's last record is written; it may be empty.
  Wandb(const std::filesystem::path& folder, WandbRun run, std::function<void()> on_end = {});

  std::string name() const override { return "wandb"; }
  void line(const Json& line) override;

 private:
  void write(int field, const ProtoMessage& record);
  void start(const Json& line);
  void environment(const Json& line);
  void history(const Json& line);
  void summary(const Json& values);
  void system(double time);
  void end(const Json& line);

  WandbFile file_;
  WandbRun run_;
  std::function<void()> on_end_;
  int64_t records_ = 0, rows_ = 0;
  double began_ = 0;
};

// With WANDB_MODE=online the folder is uploaded when the run ends, by wandb's own program where
// there is one. Null when WANDB_MODE is disabled. WANDB_DIR, _PROJECT, _ENTITY, _NAME, _NOTES,
// _TAGS, _RUN_GROUP, _JOB_TYPE and _RUN_ID mean what they mean to wandb.
std::unique_ptr<Tracker> make_wandb(const TrainOptions& options, const Variables& variables,
                                    const Logger& log);

}  // namespace sft
