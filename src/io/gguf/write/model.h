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
struct AdapterPlan;
struct LoraConfig;

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

// M285 for a kind of adapter, or a format of one, that llama.cpp has no room for, M229 for one of a
// model of another architecture; `where` is the adapter's place or its options.
void check_gguf_adapter(const LoraConfig& config, const AdapterPlan& parts, const Json& base,
                        const GgufMix& mix, const std::string& where);
// The same for an adapter, whose values are in memory; `base` is the model that it is for. What
// check_gguf_adapter refuses.
GgufPlan plan_gguf_adapter(const AdapterFiles& adapter, const ModelSource& base,
                           const GgufMix& mix);

}  // namespace sft
