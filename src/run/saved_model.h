// How a run's weights become a model folder: what of the source's files is kept, and what the run
// has changed. Used for checkpoints and for the model at the end.
#pragma once

#include <optional>
#include <string>

#include "io/model_saver.h"
#include "run/open_run.h"

namespace sft {

class SavedModel {
 public:
  // Keeps a reference to the run, whose rows must be there.
  explicit SavedModel(OpenRun& run);

  // Writes it into a folder. Thread-safe.
  SaveReport write(const fs::path& folder, const TrainedModel& model, ThreadPool* pool) const;

 private:
  const ModelSource& source_;
  const std::optional<RunAdapter>& adapter_;
  SaveOptions options_;
  bool chats_;                               // all rows are known, and some are conversations
  std::optional<std::string> own_template_;  // of this program, where the model has none
};

}  // namespace sft
