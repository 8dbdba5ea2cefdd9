// `--report_to tensorboard`: an event file that TensorBoard reads while it grows.
#pragma once

#include <memory>
#include <string>

#include "report/trackers/record_file.h"
#include "report/trackers/tracker.h"

namespace sft {

class TensorBoard final : public Tracker {
 public:
  // `folder`/events.out.tfevents.<seconds>.<host>.<process>.0
  TensorBoard(const std::filesystem::path& folder, double now);

  std::string name() const override { return "tensorboard"; }
  void line(const Json& line) override;
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  RecordFile file_;
};

// A record of the file: length, its checksum, the bytes, their checksum (masked CRC-32C).
std::string framed_record(std::string_view bytes);

// The folder: TENSORBOARD_LOGGING_DIR, --logging_dir, or output_dir/runs/<date>_<host>.
std::unique_ptr<Tracker> make_tensorboard(const TrainOptions& options, const Variables& variables,
                                          const Logger& log);

}  // namespace sft
