// Attention as its formula has it, in double: what the tests of both attention ops compare with.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>

#include "ops/attention.h"
#include "support/op_case.h"

namespace sft::testing {

// What softmax's weight of a query, a key and a head is multiplied by.
using WeightFactor = std::function<double(int64_t query, int64_t key, int head)>;

// qkv (tokens, heads.row()), documents: where each starts, and the end, sinks of each head, if any
// -> (tokens, heads head_dim)
inline Numbers attention_reference(const Numbers& qkv, const Numbers& documents,
                                   const Attention& options, const Numbers& sinks = {},
                                   const WeightFactor& factor = {}) {
  const Heads& heads = options.heads;
  const int d = heads.head_dim;
  const int64_t row = heads.row();
  const auto tokens = static_cast<int64_t>(qkv.size()) / row;
  Numbers y(static_cast<size_t>(tokens * heads.heads * d), 0.0);
  // Head `place` of a token: queries first, then keys, then values.
  const auto head_of = [&](int64_t token, int place) {
    return qkv.data() + token * row + int64_t{place} * d;
  };
  for (size_t document = 0; document + 1 < documents.size(); ++document) {
    const auto start = static_cast<int64_t>(documents[document]);
    const auto end = static_cast<int64_t>(documents[document + 1]);
    for (int64_t t = start; t < end; ++t) {
      const int64_t first = options.window > 0 ? std::max(start, t - options.window + 1) : start;
      for (int h = 0; h < heads.heads; ++h) {
        const int key = heads.heads + h / (heads.heads / heads.kv_heads);
        Numbers scores;
        for (int64_t k = first; k <= t; ++k) {
          double dot = 0.0;
          for (int i = 0; i < d; ++i) {
            dot += head_of(t, h)[i] * head_of(k, key)[i];
          }
          const double score = double{options.scale} * dot;
          const double cap = options.cap;
          scores.push_back(cap > 0.0 ? cap * std::tanh(score / cap) : score);
        }
        if (!sinks.empty()) {
          scores.push_back(sinks[static_cast<size_t>(h)]);
        }
        const double top = *std::ranges::max_element(scores);
        double sum = 0.0;
        for (double& s : scores) {
          s = std::exp(s - top);
          sum += s;
        }
        double* out = y.data() + (t * heads.heads + h) * d;
        for (int64_t k = first; k <= t; ++k) {
          const double weight =
              scores[static_cast<size_t>(k - first)] / sum * (factor ? factor(t, k, h) : 1.0);
          for (int i = 0; i < d; ++i) {
            out[i] += weight * head_of(k, key + heads.kv_heads)[i];
          }
        }
      }
    }
  }
  return y;
}

}  // namespace sft::testing
