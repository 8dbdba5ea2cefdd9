// The model architectures a GGUF file may hold, as one table: how they are called by transformers,
// how their tensors are named there, and what the converter did to the weights. Used by GgufSource,
// by the export and by the synthesis of config.json.
#pragma once

#include <span>
#include <string_view>

#include "core/json.h"
#include "io/gguf/file.h"

namespace sft {

// A tensor's name in the file and ours, without layer and kind, or with the kind where the two
// differ in it. Two of a file's with one of our names are its rows, one behind the other.
struct GgufTensorName {
  std::string_view gguf, hf;
};

// What the experts' tensors are called where they are published. In a file all of a layer's are
// one, "ffn_gate_exps".
struct GgufExperts {
  std::string_view block{};  // what the names begin with, behind the layer; "": there are none
  std::string_view gate{}, up{}, down{};
  // A published tensor holds all experts, too: gate and up in turns, (experts, in, out).
  bool as_one = false;
  // They are published in two tensors (io/joined_experts.h), and go by names of their own here.
  bool joined = false;
  // A file has gate and up of all experts in one tensor, of each the rows of its gate first.
  bool gate_up = false;
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
  GgufExperts experts{};

  bool is(std::string_view type) const { return type == model_type; }
  // Four norms a layer, GELU, scaled embeddings.
  bool is_gemma() const { return is("gemma2") || is("gemma3_text"); }
  // Layers of the gated delta rule between those of attention.
  bool has_delta() const {
    return is("qwen3_next") || is("qwen3_5_text") || is("qwen3_5_moe_text");
  }
  bool has_experts() const { return !experts.block.empty(); }
};

// M229 naming the architecture when it is not in the table; M230 for what the table's families have
// no room for (experts of a dense one, values of another width than keys, ...).
const GgufFamily& find_gguf_family(const GgufFile& file);

// The row of the table that a config.json's model belongs to; M229 when none has room for it.
const GgufFamily& gguf_family_of(const Json& config);

}  // namespace sft
