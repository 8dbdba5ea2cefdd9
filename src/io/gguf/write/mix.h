// Which format each tensor of a GGUF file gets: llama.cpp's rules for its file types. Used by the
// export.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/ggml_blocks.h"

namespace sft {

// A row of the table of what --quant may say.
struct GgufMix {
  std::string_view name;    // "q4_k_m"
  std::string_view suffix;  // of a file's name: "Q4_K_M"
  uint32_t file_type;       // general.file_type
  DType type;               // of most matrices
  bool quantiser;           // made by llama.cpp's quantiser and not by its converter
};

// Null for a name that is not in the table.
const GgufMix* find_gguf_mix(std::string_view name);
std::vector<std::string> gguf_mix_names();

// What the rules ask of a model.
struct GgufModelFacts {
  int64_t layers = 0;
  bool tied = false;               // the head is the embedding table
  bool shares_heads_by_8 = false;  // a 70B: eight heads share one of the values
  int64_t experts = 0;             // a token's choice in a layer; 0: none
};

struct GgufTensorPlace {
  std::string_view name;  // "blk.3.attn_v.weight"
  std::vector<int64_t> shape;
};

// The type of each tensor, in the order in which they are given, which is the file's.
std::vector<const GgufType*> gguf_types(const GgufMix& mix, const GgufModelFacts& model,
                                        const std::vector<GgufTensorPlace>& tensors);

// Whether `a` stands before `b` in the quantiser's files: by layer, then by name.
bool quantiser_order(std::string_view a, std::string_view b);

}  // namespace sft
