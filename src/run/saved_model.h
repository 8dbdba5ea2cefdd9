// How a run's weights become a model folder: what of the source's files is kept, and what the run
// has changed. Used for checkpoints and for the model at the end.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/model_saver.h"
#include "run/open_run.h"

namespace sft {

// What a model keeps beside what is trained, as the source has it: a saved folder needs it too.
std::vector<StreamedTensor> untrained_tables(const ModelSource& source, const Model& model);

class SavedModel {
 public:
  // Keeps a reference to the run, whose rows must be there.
  explicit SavedModel(OpenRun& run);

  // Writes it into a folder. Thread-safe.
  SaveReport write(const fs::path& folder, const TrainedModel& model, ThreadPool* pool) const;

 private:
  SaveReport write_adapter(const fs::path& folder, std::span<const StreamedTensor> weights,
                           const SaveOptions& options, ThreadPool* pool) const;

  const ModelSource& source_;
  const std::optional<RunAdapter>& adapter_;
  std::optional<DType> narrower_;              // of what an adapter trains but for magnitudes
  std::map<std::string, std::string> tables_;  // that an adapter's file has beside it
  std::vector<StreamedTensor> routers_;        // untrained_tables
  SaveOptions options_;
  bool chats_;                               // all rows are known, and some are conversations
  std::optional<std::string> own_template_;  // of this program, where the model has none
};

}  // namespace sft
