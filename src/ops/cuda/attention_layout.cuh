// Where the rows of queries, keys and values lie, and which document a token is of, for the
// attention kernels that are not bound to one kind of GPU.
#pragma once

#include <cstdint>

#include "ops/dropout_draw.h"

namespace sft::gpu {

struct Layout {
  int heads, kv_heads, d, window;
  float scale;
  int64_t tokens, documents, longest;
  float cap;  // of the scores; 0: none

  __device__ int64_t row() const { return int64_t{heads + 2 * kv_heads} * d; }
  __device__ int group() const { return heads / kv_heads; }
};

// The document of a token: its first and its end; an empty one for tokens after the last.
struct Document {
  int64_t begin, end;
};

__device__ inline Document document_of(const int32_t* start, const Layout& l, int64_t t) {
  if (t >= start[l.documents]) {
    return {t, t};
  }
  int64_t low = 0;
  int64_t high = l.documents;  // start[low] <= t < start[high]
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (start[middle] <= t) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return {start[low], start[high]};
}

// The score of a query and a key whose product is `dot`.
__device__ inline float score_of(const Layout& l, float dot) {
  const float score = dot * l.scale;
  return l.cap > 0.0F ? l.cap * tanhf(score / l.cap) : score;
}
// Its derivative by the scaled product.
__device__ inline float score_slope(const Layout& l, float score) {
  const float t = l.cap > 0.0F ? score / l.cap : 0.0F;
  return 1.0F - t * t;
}

// What dropout multiplies the weight of a query and a key by.
struct PairDropout {
  const int32_t* keys;  // see DropoutInputs
  const int32_t* seed;
  float rate;  // 0: nothing is dropped, and there are no keys
  uint32_t site;

  __device__ float factor(int64_t query, int64_t key, int head) const {
    if (rate == 0.0F) {
      return 1.0F;
    }
    const DropoutDraw draw(seed, rate, site);
    const int64_t i = DropoutDraw::pair(head, keys[2 * key + 1]);
    return draw.kept(draw.words(keys + 2 * query, i / 4 * 4), i) ? draw.scale : 0.0F;
  }
};

__device__ inline int64_t log_sum_at(const Layout& l, int head, int64_t t) {
  return t * l.heads + head;
}

}  // namespace sft::gpu
