// A model as a GGUF file: what llama.cpp's converter, and behind it its quantiser, would write.
// Used by `sft export`.
#pragma once

#include <string>
#include <vector>

#include "io/gguf/write/mix.h"
#include "io/gguf/write/writer.h"
#include "io/model_source.h"

namespace sft {

struct AdapterFiles;

struct GgufPlan {
  std::string file_name;  // as the converter would call it
  GgufMetadata metadata;
  bool adds_bos = false;  // the runtime begins each text with that token
  std::vector<GgufOutput> tensors;
};

// Keeps a reference to the source, whose values are read while the file is written. `folder` names
// the model. M229 for an architecture that GGUF files are not read of, M281 to M283 for its
// tokenizer, M284 for a setting of it that llama.cpp has no key for; M244, M245 for tensors that
// are missing or have another shape.
GgufPlan plan_gguf(const ModelSource& source, const fs::path& folder, const GgufMix& mix,
                   const std::string& pre);

// The same for an adapter, whose values are in memory; `base` is the model that it is for. M285 for
// a kind of adapter that llama.cpp has no room for.
GgufPlan plan_gguf_adapter(const AdapterFiles& adapter, const ModelSource& base,
                           const GgufMix& mix);

}  // namespace sft
