// Tiles of query rows against all the keys they may see: scores, softmax and the product with the
// values, one head at a time. The backward pass makes the probabilities again from log_sum (Dao et
// al., "FlashAttention", 2022, equations of its appendix B.2).
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "ops/attention.h"
#include "ops/cache_rows.h"
#include "ops/cpu/gemm.h"
#include "ops/cpu/rows.h"
#include "ops/cpu/simd.h"
#include "ops/dropout_draw.h"

namespace sft::cpu {

namespace {

constexpr int64_t kTile = 64;  // query rows

// x[i] = exp(x[i] - shift) for i in [0, n); returns their sum.
SFT_SIMD double exp_row(float* x, int64_t n, float shift) {
  return block_sum(n, [&](int64_t i) { return x[i] = fast_exp(x[i] - shift); });
}

// x = cap tanh(x / cap)
SFT_SIMD void cap_row(float* x, int64_t n, float cap) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    x[i] = cap * fast_tanh(x[i] / cap);
  }
}

// slope = the derivative of what cap_row does, by its result
SFT_SIMD void cap_slope_row(const float* x, float* slope, int64_t n, float cap) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float t = x[i] / cap;
    slope[i] = 1.0F - t * t;
  }
}

SFT_SIMD void multiply_row(const float* x, float* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    y[i] *= x[i];
  }
}

// grad_scores = p (grad_p - delta)
SFT_SIMD void score_gradient_row(const float* p, float* grad_p, int64_t n, float delta) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    grad_p[i] = p[i] * (grad_p[i] - delta);
  }
}

// What dropout multiplies the weights of a query by, for the keys of rows [first, first + n).
struct WeightDropout {
  const Dropout& dropout;
  const Tensor &keys, &seed;

  bool some() const { return dropout.rate > 0.0F; }
  void factors(int64_t query, int head, int64_t first, int64_t n, std::vector<float>& out) const {
    const DropoutDraw draw(seed.i32(), dropout.rate, dropout.site);
    out.resize(static_cast<size_t>(n));
    int64_t drawn = -1;  // what words are of
    PhiloxWords words{};
    for (int64_t j = 0; j < n; ++j) {
      const int64_t i = DropoutDraw::pair(head, keys.i32()[2 * (first + j) + 1]);
      if (i / 4 != drawn) {
        drawn = i / 4;
        words = draw.words(keys.i32() + 2 * query, 4 * drawn);
      }
      out[static_cast<size_t>(j)] = draw.kept(words, i) ? draw.scale : 0.0F;
    }
  }
};

// One tile of one document: query rows [begin, end) see keys [first, end), counted in the document.
struct Tile {
  int64_t begin, end, first;
  int64_t rows() const { return end - begin; }
  int64_t keys() const { return end - first; }
  // The keys that row `row` (counted in the document) sees, counted from `first`.
  int64_t from(int64_t row, int window) const {
    return window > 0 ? std::max<int64_t>(0, row - window + 1 - first) : 0;
  }
  int64_t to(int64_t row) const { return row + 1 - first; }
};

Tile tile_of(int64_t index, int64_t length, int window) {
  const int64_t begin = index * kTile;
  const int64_t first = window > 0 ? std::max<int64_t>(0, begin - window + 1) : 0;
  return {begin, std::min(begin + kTile, length), first};
}

// Every (head, document, tile of rows) is one piece of work; documents may be empty.
struct Work {
  int head;
  int64_t start, length;  // of the document, in tokens
  int64_t tile;
};

std::vector<Work> tiles(const Tensor& table, int heads) {
  std::vector<Work> work;
  const int32_t* start = table.i32();
  for (int64_t d = 0; d + 1 < table.shape[1]; ++d) {
    const int64_t length = start[d + 1] - start[d];
    // The last tiles see the most keys: longest first keeps the threads even.
    for (int64_t tile = (length + kTile - 1) / kTile; tile-- > 0;) {
      for (int head = 0; head < heads; ++head) {
        work.push_back({head, start[d], length, tile});
      }
    }
  }
  return work;
}

// Where a head's queries, keys and values start in a row of qkv.
struct HeadOffsets {
  int64_t query, key, value;
  HeadOffsets(const Heads& h, int head)
      : query(int64_t{head} * h.head_dim),
        key((h.heads + int64_t{head} / (h.heads / h.kv_heads)) * h.head_dim),
        value(key + int64_t{h.kv_heads} * h.head_dim) {}
};

// Turns a row of scores into probabilities between from and to, zero elsewhere; returns log_sum.
float softmax_row(float* row, int64_t from, int64_t to, int64_t keys) {
  const float top = max_row(row + from, to - from);
  const double sum = exp_row(row + from, to - from, top);
  scale_row(row + from, to - from, static_cast<float>(1.0 / sum));
  std::fill(row, row + from, 0.0F);
  std::fill(row + to, row + keys, 0.0F);
  return static_cast<float>(top + std::log(sum));
}

void zero_padding(const Tensor& table, Tensor& y) {
  const int64_t end = table.i32()[table.shape[1] - 1];
  const int64_t row = y.shape[1];
  std::memset(y.f32() + end * row, 0,
              static_cast<size_t>((y.shape[0] - end) * row) * sizeof(float));
}

}  // namespace

void document_table(Device& /*device*/, const Tensor& documents, const Heads& heads,
                    int64_t /*tokens*/, Tensor& table) {
  const int64_t n = documents.shape[0];
  const int32_t* start = documents.i32();
  int32_t* out = table.i32();
  const auto row = static_cast<int32_t>(heads.row());
  const int32_t y_row = heads.heads * heads.head_dim;
  for (int64_t d = 0; d < n; ++d) {
    out[d] = start[d];
    out[n + d] = d + 1 < n ? start[d + 1] - start[d] : 0;
    out[2 * n + d] = start[d] * row;
    out[3 * n + d] = start[d] * y_row;
    out[4 * n + d] = start[d] * heads.heads;
  }
}

void attention_forward(Device& device, const Tensor& qkv, const Tensor& table, const Tensor& keys,
                       const Tensor& seed, const Attention& options, Tensor& y, Tensor& log_sum) {
  const Heads& heads = options.heads;
  const int64_t d = heads.head_dim;
  const int64_t row = heads.row();
  const int64_t tokens = qkv.shape[0];
  const std::vector<Work> work = tiles(table, heads.heads);
  zero_padding(table, y);
  const WeightDropout dropped{options.dropout, keys, seed};
  std::vector<std::vector<float>> scratch(static_cast<size_t>(device.threads().size()));
  std::vector<std::vector<float>> factors(scratch.size());
  device.threads().for_each(static_cast<int64_t>(work.size()), [&](int64_t item, int thread) {
    const Work& w = work[static_cast<size_t>(item)];
    const Tile tile = tile_of(w.tile, w.length, options.window);
    const HeadOffsets at(heads, w.head);
    const float* base = qkv.f32() + w.start * row;
    std::vector<float>& scores = scratch[static_cast<size_t>(thread)];
    scores.resize(static_cast<size_t>(kTile * tile.keys()));
    const int64_t width = tile.keys();
    gemm_serial({.transpose_b = true,
                 .m = tile.rows(),
                 .n = width,
                 .k = d,
                 .alpha = options.scale,
                 .a = base + tile.begin * row + at.query,
                 .lda = row,
                 .b = base + tile.first * row + at.key,
                 .ldb = row,
                 .c = scores.data(),
                 .ldc = width});
    if (options.cap > 0.0F) {
      cap_row(scores.data(), tile.rows() * width, options.cap);
    }
    for (int64_t i = 0; i < tile.rows(); ++i) {
      const int64_t q = tile.begin + i;
      float* const weights = scores.data() + i * width;
      log_sum.f32()[w.head * tokens + w.start + q] =
          softmax_row(weights, tile.from(q, options.window), tile.to(q), width);
      if (dropped.some()) {
        std::vector<float>& each = factors[static_cast<size_t>(thread)];
        dropped.factors(w.start + q, w.head, w.start + tile.first, width, each);
        multiply_row(each.data(), weights, width);
      }
    }
    gemm_serial({.m = tile.rows(),
                 .n = d,
                 .k = width,
                 .a = scores.data(),
                 .lda = width,
                 .b = base + tile.first * row + at.value,
                 .ldb = row,
                 .c = y.f32() + (w.start + tile.begin) * y.shape[1] + at.query,
                 .ldc = y.shape[1]});
  });
}

namespace {

// The backward pass of one head of one document. `grad_kv` (length, 2 d) is this head's own.
struct HeadBackward {
  const Attention& options;
  const Tensor &grad_y, &qkv, &y, &log_sum;
  Tensor& grad_qkv;
  const WeightDropout& dropped;
  std::vector<float>&p, &grad_p, &slope, &factors;

  void run(int head, int64_t start, int64_t length, float* grad_kv) const {
    const Heads& heads = options.heads;
    const int64_t d = heads.head_dim;
    std::memset(grad_kv, 0, static_cast<size_t>(length * 2 * d) * sizeof(float));
    for (int64_t index = 0; index * kTile < length; ++index) {
      tile_backward(head, start, tile_of(index, length, options.window), grad_kv);
    }
  }

  void tile_backward(int head, int64_t start, const Tile& tile, float* grad_kv) const {
    const Heads& heads = options.heads;
    const HeadOffsets at(heads, head);
    const int64_t d = heads.head_dim;
    const int64_t row = heads.row();
    const int64_t keys = tile.keys();
    const int64_t out_row = y.shape[1];
    const float* base = qkv.f32() + start * row;
    const float* query = base + tile.begin * row + at.query;
    const float* key = base + tile.first * row + at.key;
    const float* value = base + tile.first * row + at.value;
    const float* g = grad_y.f32() + (start + tile.begin) * out_row + at.query;
    const float* out = y.f32() + (start + tile.begin) * out_row + at.query;
    p.resize(static_cast<size_t>(kTile * keys));
    grad_p.resize(static_cast<size_t>(kTile * keys));

    gemm_serial({.transpose_b = true,
                 .m = tile.rows(),
                 .n = keys,
                 .k = d,
                 .alpha = options.scale,
                 .a = query,
                 .lda = row,
                 .b = key,
                 .ldb = row,
                 .c = p.data(),
                 .ldc = keys});
    gemm_serial({.transpose_b = true,
                 .m = tile.rows(),
                 .n = keys,
                 .k = d,
                 .a = g,
                 .lda = out_row,
                 .b = value,
                 .ldb = row,
                 .c = grad_p.data(),
                 .ldc = keys});
    if (options.cap > 0.0F) {
      slope.resize(p.size());
      cap_row(p.data(), tile.rows() * keys, options.cap);
      cap_slope_row(p.data(), slope.data(), tile.rows() * keys, options.cap);
    }
    for (int64_t i = 0; i < tile.rows(); ++i) {
      const int64_t q = tile.begin + i;
      const int64_t from = tile.from(q, options.window);
      const int64_t to = tile.to(q);
      float* p_row = p.data() + i * keys;
      float* grad_row = grad_p.data() + i * keys;
      exp_row(p_row + from, to - from, log_sum.f32()[head * qkv.shape[0] + start + q]);
      const float delta = dot(g + i * out_row, out + i * out_row, d);
      if (dropped.some()) {
        dropped.factors(start + q, head, start + tile.first + from, to - from, factors);
        multiply_row(factors.data(), grad_row + from, to - from);
      }
      score_gradient_row(p_row + from, grad_row + from, to - from, delta);
      if (options.cap > 0.0F) {
        multiply_row(slope.data() + i * keys + from, grad_row + from, to - from);
      }
      if (dropped.some()) {
        multiply_row(factors.data(), p_row + from, to - from);
      }
      for (float* r : {p_row, grad_row}) {
        std::fill(r, r + from, 0.0F);
        std::fill(r + to, r + keys, 0.0F);
      }
    }
    gemm_serial({.m = tile.rows(),
                 .n = d,
                 .k = keys,
                 .alpha = options.scale,
                 .a = grad_p.data(),
                 .lda = keys,
                 .b = key,
                 .ldb = row,
                 .c = grad_qkv.f32() + (start + tile.begin) * row + at.query,
                 .ldc = row});
    float* grad_key = grad_kv + tile.first * 2 * d;
    gemm_serial({.transpose_a = true,
                 .m = keys,
                 .n = d,
                 .k = tile.rows(),
                 .alpha = options.scale,
                 .a = grad_p.data(),
                 .lda = keys,
                 .b = query,
                 .ldb = row,
                 .beta = 1.0F,
                 .c = grad_key,
                 .ldc = 2 * d});
    gemm_serial({.transpose_a = true,
                 .m = keys,
                 .n = d,
                 .k = tile.rows(),
                 .a = p.data(),
                 .lda = keys,
                 .b = g,
                 .ldb = out_row,
                 .beta = 1.0F,
                 .c = grad_key + d,
                 .ldc = 2 * d});
  }
};

// Adds up the query heads that share a key head.
void collect_key_gradients(Device& device, const Heads& heads, const Tensor& workspace,
                           Tensor& grad_qkv, int64_t end) {
  const int64_t d = heads.head_dim;
  const int64_t tokens = grad_qkv.shape[0];
  const int group = heads.heads / heads.kv_heads;
  device.threads().parallel_for(end, [&](int64_t from, int64_t to) {
    for (int64_t t = from; t < to; ++t) {
      for (int kv = 0; kv < heads.kv_heads; ++kv) {
        float* key = grad_qkv.f32() + t * heads.row() + (heads.heads + kv) * d;
        float* value = key + heads.kv_heads * d;
        for (int h = kv * group; h < (kv + 1) * group; ++h) {
          const float* part = workspace.f32() + (h * tokens + t) * 2 * d;
          if (h == kv * group) {
            std::copy(part, part + d, key);
            std::copy(part + d, part + 2 * d, value);
          } else {
            add_row(part, key, d);
            add_row(part + d, value, d);
          }
        }
      }
    }
  });
}

}  // namespace

void attention_backward(Device& device, const Tensor& grad_y, const Tensor& qkv, const Tensor& y,
                        const Tensor& log_sum, const Tensor& table, const Tensor& keys,
                        const Tensor& seed, const Attention& options, Tensor& grad_qkv,
                        Tensor& workspace) {
  const Heads& heads = options.heads;
  const int32_t* start = table.i32();
  const int64_t count = table.shape[1] - 1;
  zero_padding(table, grad_qkv);
  struct Scratch {
    std::vector<float> p, grad_p, slope, factors;
  };
  const WeightDropout dropped{options.dropout, keys, seed};
  std::vector<Scratch> scratch(static_cast<size_t>(device.threads().size()));
  device.threads().for_each(count * heads.heads, [&](int64_t item, int thread) {
    const int64_t document = item / heads.heads;
    const int head = static_cast<int>(item % heads.heads);
    const int64_t length = start[document + 1] - start[document];
    if (length == 0) {
      return;
    }
    Scratch& mine = scratch[static_cast<size_t>(thread)];
    const HeadBackward backward{options, grad_y, qkv,         y,          log_sum,     grad_qkv,
                                dropped, mine.p, mine.grad_p, mine.slope, mine.factors};
    backward.run(head, start[document], length,
                 workspace.f32() + (head * qkv.shape[0] + start[document]) * 2 * heads.head_dim);
  });
  collect_key_gradients(device, heads, workspace, grad_qkv, start[count]);
}

void cached_attention_forward(Device& device, const Tensor& qkv, Tensor& cache, const Tensor& past,
                              const Tensor& sinks, const Attention& options, Tensor& y) {
  const Heads& heads = options.heads;
  const int64_t d = heads.head_dim;
  const int64_t row = heads.row();
  const int64_t cache_row = 2 * heads.kv_heads * d;
  const int64_t lanes = past.shape[0];
  const int64_t fresh = qkv.shape[0] / lanes;  // tokens of each lane
  const auto lane_cache = [&](int64_t lane) {
    return cache.f32() + past.i32()[2 * lane] * cache_row;
  };
  cache_rows(device, qkv, past, cache);
  const int64_t blocks = (fresh + kTile - 1) / kTile;
  device.threads().for_each(lanes * blocks * heads.heads, [&](int64_t item, int) {
    const int head = static_cast<int>(item % heads.heads);
    const int64_t block = item / heads.heads % blocks;
    const int64_t lane = item / heads.heads / blocks;
    const HeadOffsets at(heads, head);
    const int64_t key = at.key - int64_t{heads.heads} * d;  // in a row of the cache
    const float* keys = lane_cache(lane);
    std::vector<float> scores;
    std::vector<double> mean(static_cast<size_t>(d));  // over any number of keys
    const int64_t last = std::min((block + 1) * kTile, fresh);
    for (int64_t t = block * kTile; t < last; ++t) {
      const int64_t end = past.i32()[2 * lane + 1] + t + 1;
      const int64_t first = options.window > 0 ? std::max<int64_t>(0, end - options.window) : 0;
      const float* query = qkv.f32() + (lane * fresh + t) * row + at.query;
      scores.resize(static_cast<size_t>(end - first));
      for (int64_t k = first; k < end; ++k) {
        scores[static_cast<size_t>(k - first)] =
            options.scale * dot(query, keys + k * cache_row + key, d);
      }
      if (options.cap > 0.0F) {
        cap_row(scores.data(), end - first, options.cap);
      }
      const float log_sum = softmax_row(scores.data(), 0, end - first, end - first);
      if (sinks.data != nullptr) {
        scale_row(scores.data(), end - first,
                  1.0F / (1.0F + std::exp(sinks.f32()[head] - log_sum)));
      }
      float* out = y.f32() + (lane * fresh + t) * y.shape[1] + at.query;
      std::fill(mean.begin(), mean.end(), 0.0);
      for (int64_t k = first; k < end; ++k) {
        const float* value = keys + k * cache_row + key + heads.kv_heads * d;
        for (int64_t i = 0; i < d; ++i) {
          mean[static_cast<size_t>(i)] += scores[static_cast<size_t>(k - first)] * value[i];
        }
      }
      std::transform(mean.begin(), mean.end(), out, [](double x) { return static_cast<float>(x); });
    }
  });
}

int64_t attention_workspace(Device& /*device*/, const Heads& /*heads*/, float /*scale*/,
                            DType /*compute*/, int64_t /*tokens*/) {
  return 0;
}

}  // namespace sft::cpu
