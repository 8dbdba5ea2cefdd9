// The general.* keys of a GGUF file: what the model is called, what it comes from, how it is best
// sampled. Used by the export.
#pragma once

#include "core/json.h"
#include "io/gguf/write/metadata.h"
#include "io/gguf/write/name.h"
#include "io/model_source.h"

namespace sft {

// What a folder says of its model.
struct GgufGeneral {
  std::string folder;                // its name
  Json card = Json::object();        // the front matter of README.md
  Json config = Json::object();      // config.json
  Json generation = Json::object();  // generation_config.json
};

// The front matter of a README.md as JSON; {} where there is none that can be read.
Json card_of(const std::string& readme);
GgufGeneral general_of(const ModelSource& source, const fs::path& folder);

// How many values a model has: all, as in read_gguf_name, and those that a text passes where it
// goes to one expert; `experts` is 0 without any.
struct GgufSize {
  int64_t all = 0, with_one_expert = 0, experts = 0;
};

// Writes the keys, and returns the name that they give the model.
GgufName set_general(GgufMetadata& metadata, const GgufGeneral& general, const GgufSize& size);

}  // namespace sft
