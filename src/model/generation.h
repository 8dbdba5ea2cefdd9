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
  bool operator==(const CacheRoom&) const = default;
};

// Each layer's, in the order in which its mixer reads them.
std::vector<std::vector<CacheSpec>> cache_specs(const ModelConfig& config, const CacheRoom& room,
                                                DType compute);
// Whether a text cannot go on from fewer tokens than it has: a state does not go back.
bool has_states(const ModelConfig& config);

// What a program goes on with, and in which room.
struct LanesSize {
  int64_t tokens = 0;  // new ones, equally many in each of
  int64_t lanes = 1;   // so many texts
  CacheRoom room;
  // The one text begins here: its tokens attend to each other as in training, which is faster than
  // looking into the cache.
  bool from_start = false;
  // The likeliest tokens are taken as what the next run reads (ops/next_token.h); there is an input
  // "written" (room.rows) i32.
  bool picks = false;
  bool operator==(const LanesSize&) const = default;
};

// The logits after the new tokens of each text: (lanes, vocab).
LogitsProgram record_lanes(const Model& model, const LanesSize& size, Target target = {});

}  // namespace sft
