// The model architectures a GGUF file may hold, as one table: how they are called by transformers,
// how their tensors are named there, and what the converter did to the weights. Used by GgufSource
// and by the synthesis of config.json.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/json.h"
#include "io/gguf/file.h"

namespace sft {

// A tensor's name in the file and ours, without layer and kind.
struct GgufTensorName {
  std::string_view gguf, hf;
};

struct GgufFamily {
  const char* architecture;                 // general.architecture
  const char* model_type;                   // config.json
  const char* class_name;                   // config.json's architectures
  bool interleaved_rope;                    // rows of q and k were permuted for an interleaved rope
  bool norms_plus_one;                      // norm weights were stored with 1 added
  std::span<const GgufTensorName> names{};  // of a layer's tensors, where they are not Llama's
  bool llama_keys = false;     // vocab_size and rope.dimension_count, and the tokenizer's of Llama
  bool rope_divisors = false;  // llama3's scaling is the tensor rope_freqs.weight

  bool is(std::string_view type) const { return type == model_type; }
  // Four norms a layer, GELU, scaled embeddings.
  bool is_gemma() const { return is("gemma2") || is("gemma3_text"); }
};

// M229 naming the architecture when it is not in the table; M230 for what the table's families have
// no room for (experts, partial rope, ...).
const GgufFamily& find_gguf_family(const GgufFile& file);

// The Hugging Face name of a tensor of the file; "" for one that is not a weight (rope_freqs);
// M231 for one that has no place in the family.
std::string hf_tensor_name(const GgufFamily& family, const GgufFile& file, const std::string& name);

// The row of the table that a config.json's model belongs to; M229 when none has room for it.
const GgufFamily& gguf_family_of(const Json& config);
// The way back: a tensor's name in a GGUF file of the family. M231 for one that has no place in it.
std::string gguf_tensor_name(const GgufFamily& family, std::string_view hf);

}  // namespace sft
