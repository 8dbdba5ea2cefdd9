#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "core/dtype.h"
#include "formats/block8.h"
#include "ops/cpu/simd.h"
#include "optim/element.h"
#include "optim/kernels.h"

namespace sft {

namespace {

// Elements that are handled together; what they need stays in the cache.
constexpr int64_t kNear = 2048;

// Element i of the rows; those of slots that the rule has not are not touched. A function of its
// own: in the loop's body, what is passed by reference would keep the loop from running in all
// lanes.
template <class Rule>
SFT_INLINE void rule_element(float* w, float* g, float* s0, float* s1, float* s2, int64_t i,
                             float clip, float decay, const typename Rule::Scalars& u) {
  constexpr size_t kSlots = Rule::kSlots.size();
  float state[kMaxSlots] = {};
  if constexpr (kSlots > 0) {
    state[0] = s0[i];
  }
  if constexpr (kSlots > 1) {
    state[1] = s1[i];
  }
  if constexpr (kSlots > 2) {
    state[2] = s2[i];
  }
  float gradient = g[i] * clip;
  float weight = w[i];
  Rule::element(u, decay, gradient, weight, state);
  w[i] = weight;
  if constexpr (Rule::kWritesGradient) {
    g[i] = gradient;
  }
  if constexpr (kSlots > 0) {
    s0[i] = state[0];
  }
  if constexpr (kSlots > 1) {
    s1[i] = state[1];
  }
  if constexpr (kSlots > 2) {
    s2[i] = state[2];
  }
}

template <class Rule>
SFT_SIMD void rule_row(float* w, float* g, float* s0, float* s1, float* s2, int64_t n, float clip,
                       float decay, const typename Rule::Scalars& scalars) {
  const typename Rule::Scalars u = scalars;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    rule_element<Rule>(w, g, s0, s1, s2, i, clip, decay, u);
  }
}

SFT_SIMD void round_row(const float* from, BFloat16* to, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    to[i] = to_bfloat16(from[i]);
  }
}

SFT_SIMD double sum_of_squares(const float* x, int64_t n) {
  return cpu::block_sum(n, [&](int64_t i) { return x[i] * x[i]; });
}

using TileValues = std::array<float, kTile>;

// A tile of 8-bit codes and its scale, as values and back.
void decode(const uint8_t* codes, float scale, const block8::Book& book, TileValues& out) {
  for (size_t i = 0; i < kTile; ++i) {
    out[i] = book.values[codes[i]] * scale;
  }
}

void encode(const TileValues& values, const block8::Book& book, uint8_t* codes, float* scale) {
  float largest = 0.0F;
  for (const float v : values) {
    largest = std::max(largest, std::abs(v));
  }
  *scale = largest;
  const float divisor = largest > 0.0F ? largest : 1.0F;
  for (size_t i = 0; i < kTile; ++i) {
    codes[i] = code_of(book, values[i] / divisor);
  }
}

// One call, taken apart: what a thread does with its tiles.
template <class Rule>
class Tiles {
 public:
  explicit Tiles(const UpdateCall& call)
      : c_(call), u_(call.scalars.as<typename Rule::Scalars>()) {}

  void run(ElementRange range) const {
    const StateSegment* const end = c_.segments + c_.segment_count;
    const StateSegment* s =
        std::upper_bound(c_.segments, end, range.begin,
                         [](int64_t at, const StateSegment& x) { return at < x.begin; }) -
        1;
    for (; s != end && s->begin < range.end; ++s) {
      if (!is_concerned(c_, *s)) {
        continue;
      }
      stretch(*s, {std::max(range.begin, s->begin), std::min(range.end, s->end)});
    }
  }

 private:
  static constexpr size_t kSlots = Rule::kSlots.size();
  using Rows = std::array<float*, kMaxSlots>;

  // At most kNear elements. A slot that these settings do not need is 0, whatever becomes of it.
  void row(float* weights, int64_t at, Rows rows, int64_t n, float decay) const {
    std::array<std::array<float, kNear>, kSlots> idle;
    for (size_t k = 0; k < kSlots; ++k) {
      if (rows[k] == nullptr) {
        std::fill_n(idle[k].begin(), n, 0.0F);
        rows[k] = idle[k].data();
      }
    }
    rule_row<Rule>(weights, c_.gradients + at, rows[0], rows[1], rows[2], n, c_.clip, decay, u_);
  }

  void stretch(const StateSegment& s, ElementRange r) const {
    const float decay = s.decay ? c_.decay : c_.no_decay;
    const int64_t state = r.begin - s.begin;
    const int64_t at = r.begin - c_.begin;
    if (s.format == StateFormat::f32 && c_.weight_type == DType::f32 && !s.rounded) {
      auto* const weights = static_cast<float*>(c_.weights) + at;
      // The copy is made of what is still in the cache.
      for (int64_t i = 0; i < r.size(); i += kNear) {
        const int64_t n = std::min(kNear, r.size() - i);
        Rows rows{};
        for (size_t k = 0; k < kSlots; ++k) {
          std::byte* const values = c_.slots[k].values;
          rows[k] =
              values == nullptr ? nullptr : reinterpret_cast<float*>(values + s.at[k]) + state + i;
        }
        row(weights + i, at + i, rows, n, decay);
        store_copies(at + i, weights + i, n);
      }
      return;
    }
    for (int64_t i = 0; i < r.size(); i += kTile) {
      tile(s, decay, r.begin + i);
    }
  }

  void tile(const StateSegment& s, float decay, int64_t element) const {
    TileValues weights;
    std::array<TileValues, kSlots> states;
    const int64_t at = element - c_.begin;
    const int64_t state = element - s.begin;
    load_weights(at, weights);
    Rows rows{};
    for (size_t k = 0; k < kSlots; ++k) {
      if (c_.slots[k].values != nullptr) {
        load_state(s, k, state, states[k]);
        rows[k] = states[k].data();
      }
    }
    row(weights.data(), at, rows, kTile, decay);
    const bool random = c_.weight_type == DType::bf16 || s.rounded || s.format == StateFormat::bf16;
    RoundingPair pair{};
    for (int64_t i = 0; i < kTile; ++i) {
      const auto k = static_cast<size_t>(i);
      if (random && i % 2 == 0) {
        pair = rounding_bits(c_.seed, c_.step, (element + i) / 2);
      }
      const RoundingBits& bits = i % 2 == 0 ? pair.even : pair.odd;
      if (c_.weight_type == DType::bf16) {
        const BFloat16 rounded{round_stochastically(weights[k], bits.weight)};
        static_cast<BFloat16*>(c_.weights)[at + i] = rounded;
        weights[k] = to_float(rounded);
      } else {
        if (s.rounded) {
          weights[k] = to_float(BFloat16{round_stochastically(weights[k], bits.weight)});
        }
        static_cast<float*>(c_.weights)[at + i] = weights[k];
      }
      for (size_t slot = 0; slot < kSlots; ++slot) {
        std::byte* const values = c_.slots[slot].values;
        if (values == nullptr) {
          continue;
        }
        if (s.format == StateFormat::bf16) {
          reinterpret_cast<BFloat16*>(values + s.at[slot])[state + i] = {
              round_stochastically(states[slot][k], bits.state[slot])};
        } else if (s.format == StateFormat::f32) {
          reinterpret_cast<float*>(values + s.at[slot])[state + i] = states[slot][k];
        }
      }
    }
    store_copies(at, weights.data(), kTile);
    if (s.format == StateFormat::block8) {
      for (size_t slot = 0; slot < kSlots; ++slot) {
        const SlotCall& c = c_.slots[slot];
        encode(states[slot], c_.books[c.book],
               reinterpret_cast<uint8_t*>(c.values + s.at[slot]) + state,
               c.scales + s.scale_at[slot] + state / kTile);
      }
    }
  }

  void load_weights(int64_t at, TileValues& out) const {
    if (c_.weight_type == DType::f32) {
      std::copy_n(static_cast<const float*>(c_.weights) + at, kTile, out.begin());
      return;
    }
    for (int64_t i = 0; i < kTile; ++i) {
      out[static_cast<size_t>(i)] = to_float(static_cast<const BFloat16*>(c_.weights)[at + i]);
    }
  }

  void load_state(const StateSegment& s, size_t k, int64_t state, TileValues& out) const {
    const SlotCall& slot = c_.slots[k];
    const std::byte* const base = slot.values + s.at[k];
    switch (s.format) {
      case StateFormat::f32:
        std::copy_n(reinterpret_cast<const float*>(base) + state, kTile, out.begin());
        return;
      case StateFormat::bf16:
        for (int64_t i = 0; i < kTile; ++i) {
          out[static_cast<size_t>(i)] =
              to_float(reinterpret_cast<const BFloat16*>(base)[state + i]);
        }
        return;
      case StateFormat::block8:
        decode(reinterpret_cast<const uint8_t*>(base) + state,
               slot.scales[s.scale_at[k] + state / kTile], c_.books[slot.book], out);
        return;
    }
  }

  void store_copies(int64_t at, const float* x, int64_t n) const {
    if (c_.copy == nullptr) {
      return;
    }
    switch (c_.copy_type) {
      case DType::bf16:
        return round_row(x, static_cast<BFloat16*>(c_.copy) + at, n);
      case DType::f16:
        std::transform(x, x + n, static_cast<Float16*>(c_.copy) + at, to_float16);
        return;
      default:
        std::copy_n(x, n, static_cast<float*>(c_.copy) + at);
    }
  }

  const UpdateCall& c_;
  const typename Rule::Scalars& u_;
};

}  // namespace

void cpu::update(Device& device, const UpdateCall& call) {
  with_rule(call.rule, [&](auto rule) {
    const Tiles<decltype(rule)> tiles(call);
    device.threads().parallel_for(
        (call.end - call.begin) / kTile,
        [&](int64_t begin, int64_t end) {
          tiles.run({call.begin + begin * kTile, call.begin + end * kTile});
        },
        16);
  });
}

double cpu::l2_norm(Device& device, const float* x, int64_t n) {
  constexpr int64_t kChunk = 4096;
  const int64_t chunks = (n + kChunk - 1) / kChunk;
  std::vector<double> sums(static_cast<size_t>(chunks));
  device.threads().parallel_for(chunks, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      sums[static_cast<size_t>(c)] =
          sum_of_squares(x + c * kChunk, std::min(kChunk, n - c * kChunk));
    }
  });
  double total = 0.0;
  for (const double s : sums) {
    total += s;
  }
  return std::sqrt(total);
}

}  // namespace sft
