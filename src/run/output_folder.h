// output_dir as a run finds it: which of its files are this run's own, and where the run goes on.
// Rank 0 holds it while the run lives. Used by run.cpp.
//
// `.sft.run` in the folder says which run trains there:
//   run     its id, which its checkpoints carry too; a resumed run keeps it
//   launch  which start of `sft launch` it belongs to, so that a restart finds it
//   from    the checkpoint elsewhere, or of another run, that it went on from
//   model   the run whose model lies in the folder itself
#pragma once

#include <optional>
#include <string>

#include "core/file.h"
#include "core/file_lock.h"
#include "core/log.h"
#include "core/saved_state.h"
#include "core/thread_pool.h"
#include "settings/train_options.h"

namespace sft {

// S010 an output_dir that could not be made or written, or a --profile of that kind; S001 where
// something else than a file has a name that the run will write. Nothing is made.
void check_outputs(const TrainOptions& options);
void check_profile(const fs::path& file);  // S010 as above

// Where a run goes on.
struct Resume {
  fs::path checkpoint;
  bool verified = false;  // its checksums have been compared
};
// What --resume_from_checkpoint says, or, where this is a restart (`attempt` > 0) of `launch`, this
// run's newest checkpoint, if there is one. M265 for a path that does not exist, M267 for that of
// an output_dir. Nothing is made.
std::optional<Resume> checkpoint_to_resume(const TrainOptions& options, const std::string& launch,
                                           int attempt, ThreadPool& pool, const Logger& log);

// What `.sft.run` says.
struct RunRecord {
  std::string run, launch, from, model;
  void visit(StateTable& v);
};

class OutputFolder {
 public:
  // Makes the folder and locks it (S010, S040), removes what a killed run has left half-written,
  // and refuses (S001) where something else than a file has a name that the run will write.
  OutputFolder(const TrainOptions& options, const std::string& owner);

  // Notes that `run` trains here from now on, having gone on from `from` ("": from the beginning),
  // and says what of other runs lies here and what becomes of it.
  void begin(const std::string& run, const std::string& launch, const std::string& from,
             const Logger& log);
  // Notes that the model in the folder is this run's.
  void model_saved();

 private:
  void write_record() const;

  fs::path folder_;
  std::optional<FolderLock> lock_;
  std::optional<RunRecord> record_;
};

// 16 digits that no other run has.
std::string new_run_id();

}  // namespace sft
