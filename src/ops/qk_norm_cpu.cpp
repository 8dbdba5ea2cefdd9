#include <algorithm>
#include <utility>
#include <vector>

#include "ops/cpu/rows.h"
#include "ops/qk_norm.h"

namespace sft::cpu {

namespace {

// What is normed by itself: heads of queries and keys, and of values where these are, or all
// queries and all keys.
struct Parts {
  int queries, keys, values;   // how many
  int64_t query_n, key_n, at;  // values of one, and all of them in a row
  bool together;

  Parts(const Heads& heads, const Tensor& query_weight, bool with_values)
      : queries(heads.heads),
        keys(heads.kv_heads),
        values(with_values ? heads.kv_heads : 0),
        query_n(heads.head_dim),
        key_n(heads.head_dim),
        at(int64_t{heads.heads + heads.kv_heads + values} * heads.head_dim),
        together(query_weight.shape[0] != heads.head_dim) {
    if (together) {
      query_n *= std::exchange(queries, 1);
      key_n *= std::exchange(keys, 1);
    }
  }
  int count() const { return queries + keys + values; }
  // What a part's values are multiplied by; `ones` stands for those of values.
  const float* weight(int part, const Tensor& query, const Tensor& key, const float* ones) const {
    return part < queries ? query.f32() : part < queries + keys ? key.f32() : ones;
  }
  int64_t n(int part) const { return part < queries ? query_n : key_n; }
  int64_t begin(int part) const {
    return part < queries ? part * query_n : queries * query_n + (part - queries) * key_n;
  }
  int64_t rstd(int part, int64_t t, int64_t tokens) const {
    return together ? part * tokens + t : t * count() + part;
  }
};

// A weight that multiplies by 1.
std::vector<float> ones_of(const Heads& heads, const RmsNorm& options) {
  return std::vector<float>(static_cast<size_t>(heads.head_dim), 1.0F - options.weight_offset);
}

}  // namespace

void qk_norm_forward(Device& device, const Tensor& qkv, const Tensor& query_weight,
                     const Tensor& key_weight, const Heads& heads, const RmsNorm& options,
                     bool values, Tensor& y, Tensor& rstd) {
  const Parts parts(heads, query_weight, values);
  const std::vector<float> ones = ones_of(heads, options);
  const int64_t tokens = qkv.shape[0];
  device.threads().parallel_for(tokens, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* x = qkv.f32() + t * heads.row();
      float* out = y.f32() + t * heads.row();
      for (int i = 0; i < parts.count(); ++i) {
        const float* weight = parts.weight(i, query_weight, key_weight, ones.data());
        rstd.f32()[parts.rstd(i, t, tokens)] =
            norm_row(x + parts.begin(i), weight, out + parts.begin(i), parts.n(i), options.eps,
                     options.weight_offset);
      }
      std::copy(x + parts.at, x + heads.row(), out + parts.at);
    }
  });
}

void qk_norm_backward(Device& device, const Tensor& grad_y, const Tensor& qkv,
                      const Tensor& query_weight, const Tensor& key_weight, const Tensor& rstd,
                      const Heads& heads, const RmsNorm& options, bool values, Tensor& grad_qkv,
                      Tensor& grad_query_weight, bool accumulate_query, Tensor& grad_key_weight,
                      bool accumulate_key) {
  const Parts parts(heads, query_weight, values);
  const std::vector<float> ones = ones_of(heads, options);
  const int64_t rows = qkv.shape[0];
  const int threads = device.threads().size();
  const int64_t width = parts.query_n + parts.key_n;
  // Per thread: the query weight's partial gradient, then the key weight's.
  std::vector<double> partial(static_cast<size_t>(threads * width), 0.0);
  device.threads().run([&](int thread) {
    double* const of_query = partial.data() + thread * width;
    double* const of_key = of_query + parts.query_n;
    for (int64_t t = rows * thread / threads; t < rows * (thread + 1) / threads; ++t) {
      const int64_t at = t * heads.row();
      const float* g = grad_y.f32() + at;
      float* out = grad_qkv.f32() + at;
      for (int i = 0; i < parts.count(); ++i) {
        double* const of_weight = i < parts.queries                ? of_query
                                  : i < parts.queries + parts.keys ? of_key
                                                                   : nullptr;
        const int64_t from = parts.begin(i);
        norm_row_backward(g + from, qkv.f32() + at + from,
                          parts.weight(i, query_weight, key_weight, ones.data()),
                          rstd.f32()[parts.rstd(i, t, rows)], options.weight_offset, nullptr,
                          out + from, of_weight, parts.n(i));
      }
      std::copy(g + parts.at, g + heads.row(), out + parts.at);
    }
  });
  const auto collect = [&](Tensor& grad, bool accumulate, int64_t offset) {
    for (int64_t i = 0; grad.data != nullptr && i < grad.shape[0]; ++i) {
      double total = accumulate ? grad.f32()[i] : 0.0;
      for (int thread = 0; thread < threads; ++thread) {
        total += partial[static_cast<size_t>(thread * width + offset + i)];
      }
      grad.f32()[i] = static_cast<float>(total);
    }
  };
  collect(grad_query_weight, accumulate_query, 0);
  collect(grad_key_weight, accumulate_key, parts.query_n);
}

}  // namespace sft::cpu
