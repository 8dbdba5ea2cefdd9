// The program that goes on with several texts at a time, and what it keeps of them. Used by
// run/generator; for one text there is record_generation (model/model.h).
#pragma once

#include <string>
#include <vector>

#include "model/model.h"

namespace sft {

// What a layer keeps of the texts that are generated: keys and values of their tokens, or states
// that stand for all of them.
struct CacheSpec {
  std::string name;  // of the program's input
  Shape shape;
  DType dtype;
};

// Room for texts: `rows` tokens of all of them together, and how many texts.
struct CacheRoom {
  int64_t rows = 0;
  int64_t lanes = 1;
};

// Each layer's, in the order in which its mixer reads them.
std::vector<std::vector<CacheSpec>> cache_specs(const ModelConfig& config, const CacheRoom& room,
                                                DType compute);
// Whether a text cannot go on from fewer tokens than it has: a state does not go back.
bool has_states(const ModelConfig& config);

// The logits after `tokens` new tokens, equally many in each of `texts`: (texts, vocab).
LogitsProgram record_lanes(const Model& model, int64_t tokens, int64_t texts, const CacheRoom& room,
                           Target target = {});

}  // namespace sft
