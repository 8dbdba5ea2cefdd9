// Where a GPU's kernels of the gated delta rule keep what they hand to each other. They take
// documents apart into chunks of up to kChunk tokens, and a head's matrices of a chunk are tiles
// with rows of keys() or values() numbers: sizes that tensor cores take, zeros beyond what there
// is.
#pragma once

#include "ops/gated_delta.h"

namespace sft {

struct DeltaWorkspace {
  static constexpr int64_t kChunk = 64;
  static constexpr int64_t kUnit = 16;  // what tile sizes are multiples of
  static constexpr int64_t kAlign = 256;

  DeltaWorkspace(const DeltaHeads& heads, int64_t tokens, int64_t documents, size_t value_bytes,
                 bool backward)
      : chunks(tokens / kChunk + documents),
        keys(padded(heads.key_dim)),
        values(padded(heads.value_dim)) {
    const auto width = static_cast<int64_t>(value_bytes);
    const int64_t tiles = chunks * heads.value_heads;
    const int64_t key_tile = kChunk * keys * width;
    const int64_t value_tile = kChunk * values * width;
    table = take((documents + 1 + 2 * chunks) * int64_t{sizeof(int32_t)});
    decay = take(2 * tiles * kChunk * int64_t{sizeof(float)});
    learn = take(tiles * kChunk * int64_t{sizeof(float)});
    query = take(chunks * heads.key_heads * key_tile);
    key = take(chunks * heads.key_heads * key_tile);
    w = take(tiles * key_tile);
    u = take(tiles * value_tile);
    fresh = take(tiles * value_tile);
    states = take(tiles * keys * values * width);
    if (backward) {
      inverse = take(tiles * kChunk * kChunk * width);
      grad_y = take(tiles * value_tile);
      grad_fresh = take(tiles * value_tile);
      grad_states = take(tiles * keys * values * width);
      sums = take(2 * tiles * int64_t{sizeof(float)});
    }
  }
  static constexpr int64_t padded(int64_t n) { return (n + kUnit - 1) / kUnit * kUnit; }

  int64_t chunks;        // at most: each document may end with one that is not full
  int64_t keys, values;  // a tile's columns
  int64_t bytes = 0;
  // Offsets in bytes. int32: the first chunk of each document; each chunk's first token and length.
  int64_t table;
  // f32 by chunk, value head and token: the sum of decays up to it, in the chunk, and what float32
  // leaves of that; sigmoid(b).
  int64_t decay, learn;
  // Tiles of normed queries and keys, by chunk and key head; the others are by value head.
  int64_t query, key;
  int64_t w, u;  // what takes a state and values to what is new in them: fresh = u - w state
  int64_t fresh;
  int64_t states;  // (keys, values): the state before the chunk
  int64_t inverse = 0, grad_y = 0, grad_fresh = 0, grad_states = 0;  // backward
  int64_t sums = 0;  // f32 (2, chunks, heads): gradients of a_log and dt_bias

 private:
  int64_t take(int64_t size) {
    const int64_t at = bytes;
    bytes += (size + kAlign - 1) / kAlign * kAlign;
    return at;
  }
};

}  // namespace sft
