#include "report/trackers/record_file.h"

#include <fcntl.h>

#include "core/file_writer.h"

namespace sft {

RecordFile::RecordFile(const fs::path& path) : path_(path) {
  std::error_code failure;
  fs::create_directories(path.parent_path(), failure);
  file_ = open_file(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND);
  if (!file_) {
    fail_write(path_);
  }
}

void RecordFile::append(std::string_view bytes) {
  if (write_all(file_.get(), bytes) < bytes.size()) {
    fail_write(path_);
  }
}

}  // namespace sft
