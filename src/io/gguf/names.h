// Where a published tensor stands in a GGUF file, and which published ones a file's tensor holds.
// Used by GgufSource and by the export.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "io/gguf/family.h"
#include "io/gguf/file.h"

namespace sft {

// A part of a published tensor: all of a tensor of a file, or rows of it that are one expert's.
struct GgufPlace {
  std::string tensor;
  int64_t expert = -1;      // its number where each is published by itself; -1: none
  int part = 0, parts = 1;  // which of so many equal parts of the expert's rows
  // Where a published tensor holds all experts: whether the file's matrices are its own turned
  // over, and which of `turns` tensors has every `turns`-th column of it, from `turn` on.
  bool turned = false;
  int turn = 0, turns = 1;
};

// The parts that make up a published tensor, in the order of their turns or of their rows; M231 for
// one that has no place in the family.
std::vector<GgufPlace> gguf_places(const GgufFamily& family, std::string_view hf);
// The only part of one that is all of a file's tensor. M231 as above.
std::string gguf_tensor_name(const GgufFamily& family, std::string_view hf);

// The published tensors that have a part in a file's tensor: several of experts, none of one that
// is no weight (rope_freqs). Of two tensors that make up one the first names it. M231 for a tensor
// that has no place in the family.
std::vector<std::string> hf_tensor_names(const GgufFamily& family, const GgufFile& file,
                                         const GgufTensor& tensor);

}  // namespace sft
