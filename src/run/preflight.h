// What a run is refused for before it costs anything: the model's configuration and text files, and
// the places for what it writes. A run and --dry_run begin with it; no weights are fetched, and
// nothing is written.
#pragma once

#include <memory>
#include <optional>

#include "data/rows/example.h"
#include "hub/environment.h"
#include "io/model_source.h"
#include "model/model.h"
#include "run/text_setup.h"
#include "settings/train_options.h"

namespace sft {

// The model as its text files describe it.
struct RunModel {
  std::unique_ptr<ModelSource> source;
  Model shape;
  TextSetup text;
};

// Opens the model and looks at all that saving will read again: M030-M036 an architecture that is
// not supported, C075 and C079 (run/named_model.h), M243 a quantised one, M010, M248-M250 and D07x
// broken JSON, tokenizers and templates. Where the weights are on this machine also M200-M247 of
// these.
RunModel open_model(const TrainOptions& options, const HubEnvironment& hub, const Logger& log);

// S010 an output_dir that could not be made or written, or a --profile of that kind. Nothing is
// made.
void check_outputs(const TrainOptions& options);

// What the rows decide, before weights are fetched: D063 too few rows for a batch, C124 a number of
// steps other than DeepSpeed's JSON says.
void check_steps(const TrainOptions& options, const PreparedDataset& rows, int ranks);

}  // namespace sft
