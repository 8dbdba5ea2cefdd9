// What the model of a run writes, before training, at each evaluation and at the end
// (--eval_samples, --eval_prompts). The ranks share the prompts out. Used by run/run.cpp.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "comm/communicator.h"
#include "data/prompts.h"
#include "report/samples.h"
#include "run/generator.h"
#include "run/open_run.h"

namespace sft {

// The room that the answers of a run need on this rank, from its prompts. M037 for a prompt that
// leaves no room for an answer within the model's positions.
GeneratorRoom sample_room(const std::vector<Prompt>& prompts, const TrainOptions& options,
                          const ModelConfig& config, int world);

class SampleWriter {
 public:
  // Keeps a reference to the run, whose weights and ranks there are.
  explicit SampleWriter(OpenRun& run);

  // Every rank calls it at the same time and has the same result. Nothing when some rank was told
  // to stop. `watcher`: see Bindings.
  std::optional<WrittenSamples> write(Arena& arena, BlockWatcher* watcher);

 private:
  OpenRun& run_;
  std::vector<int32_t> ends_;
  std::unique_ptr<Generator> generator_;
};

}  // namespace sft
