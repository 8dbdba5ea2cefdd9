// The recurrence itself, token by token. A backward pass makes the states again: it keeps one of
// each kStretch tokens, and those of one stretch.
#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/cpu/rows.h"
#include "ops/cpu/simd.h"
#include "ops/gated_delta.h"

namespace sft::cpu {

namespace {

constexpr int64_t kStretch = 64;
constexpr float kNormEps = 1e-6F;

// state *= fade
SFT_SIMD void fade_state(float* state, float fade, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    state[i] *= fade;
  }
}

// y = state^T x
SFT_SIMD void ask(const float* state, const float* x, float* y, int64_t rows, int64_t columns) {
  std::fill_n(y, columns, 0.0F);
  for (int64_t i = 0; i < rows; ++i) {
#pragma omp simd
    for (int64_t j = 0; j < columns; ++j) {
      y[j] += x[i] * state[i * columns + j];
    }
  }
}

// state += a b^T
SFT_SIMD void add_outer(float* state, const float* a, const float* b, int64_t rows,
                        int64_t columns) {
  for (int64_t i = 0; i < rows; ++i) {
#pragma omp simd
    for (int64_t j = 0; j < columns; ++j) {
      state[i * columns + j] += a[i] * b[j];
    }
  }
}

// y += state x
void add_product(const float* state, const float* x, float* y, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; ++i) {
    y[i] += dot(state + i * columns, x, columns);
  }
}

// y = x scale / |x|; returns 1 / |x|.
float unit(const float* x, float scale, float* y, int64_t n) {
  const auto inverse = static_cast<float>(
      1.0 / std::sqrt(block_sum(n, [&](int64_t i) { return x[i] * x[i]; }) + double{kNormEps}));
  for (int64_t i = 0; i < n; ++i) {
    y[i] = x[i] * inverse * scale;
  }
  return inverse;
}

// grad_x += the gradient of x, where grad_y is that of x scale / |x|.
void add_unit_backward(const float* grad_y, const float* x, float inverse, float scale,
                       float* grad_x, int64_t n) {
  const float along = dot(grad_y, x, n) * inverse * inverse;
  for (int64_t i = 0; i < n; ++i) {
    grad_x[i] += scale * inverse * (grad_y[i] - x[i] * along);
  }
}

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
double softplus(double x) { return x > 20.0 ? x : std::log1p(std::exp(x)); }

// A token as one value head sees it.
struct Token {
  const float *query, *key, *value;
  float fade, learn;  // exp of the decay's logarithm, sigmoid of b
  double decay;       // that logarithm
  double a;           // a + dt_bias
};

struct Layer {
  const Tensor &qkv, &rates, &a_log, &dt_bias;
  const DeltaHeads& heads;

  Token token(int64_t t, int head) const {
    const float* const row = qkv.f32() + t * heads.row();
    const float* const rate = rates.f32() + t * 2 * heads.value_heads + heads.b_at(head);
    const int64_t key = int64_t{head / heads.served()} * heads.key_dim;
    Token out{row + key,
              row + heads.keys() + key,
              row + 2 * heads.keys() + int64_t{head} * heads.value_dim,
              0,
              0,
              0,
              0};
    out.a = double{rate[heads.a_after()]} + double{dt_bias.f32()[head]};
    out.decay = -std::exp(double{a_log.f32()[head]}) * softplus(out.a);
    out.fade = static_cast<float>(std::exp(out.decay));
    out.learn = static_cast<float>(sigmoid(rate[0]));
    return out;
  }
  float query_scale() const { return 1.0F / std::sqrt(static_cast<float>(heads.key_dim)); }
  int64_t state_size() const { return int64_t{heads.key_dim} * heads.value_dim; }
};

struct Scratch {
  std::vector<float> query, key;
  std::vector<float> wrong;   // value - S^T k
  std::vector<float> learnt;  // sigmoid(b) of that
  explicit Scratch(const DeltaHeads& h)
      : query(static_cast<size_t>(h.key_dim)),
        key(query.size()),
        wrong(static_cast<size_t>(h.value_dim)),
        learnt(wrong.size()) {}
};

// Takes a token into the state; s then has its key, and what the state said wrong about it.
void take_in(const Layer& layer, const Token& token, float* state, Scratch& s) {
  const int64_t rows = layer.heads.key_dim;
  const int64_t columns = layer.heads.value_dim;
  unit(token.key, 1.0F, s.key.data(), rows);
  fade_state(state, token.fade, rows * columns);
  ask(state, s.key.data(), s.wrong.data(), rows, columns);
  for (int64_t j = 0; j < columns; ++j) {
    const auto at = static_cast<size_t>(j);
    s.wrong[at] = token.value[j] - s.wrong[at];
    s.learnt[at] = token.learn * s.wrong[at];
  }
  add_outer(state, s.key.data(), s.learnt.data(), rows, columns);
}

void forward(const Layer& layer, int head, int64_t start, int64_t length, float* state, Scratch& s,
             float* y) {
  for (int64_t t = start; t < start + length; ++t) {
    const Token token = layer.token(t, head);
    take_in(layer, token, state, s);
    unit(token.query, layer.query_scale(), s.query.data(), layer.heads.key_dim);
    ask(state, s.query.data(), y + t * layer.heads.values() + int64_t{head} * layer.heads.value_dim,
        layer.heads.key_dim, layer.heads.value_dim);
  }
}

void zero_after(const Tensor& table, Tensor& y) {
  const int64_t end = table.i32()[table.shape[1] - 1];
  std::fill(y.f32() + end * y.shape[1], y.f32() + y.shape.elements(), 0.0F);
}

// The gradients of one value head in one document.
class HeadBackward {
 public:
  HeadBackward(const Layer& layer, const Tensor& grad_y, Tensor& grad_qkv, Tensor& grad_rates)
      : layer_(layer),
        grad_y_(grad_y),
        grad_qkv_(grad_qkv),
        grad_rates_(grad_rates),
        s_(layer.heads),
        grad_key_(static_cast<size_t>(layer.heads.key_dim)),
        grad_query_(grad_key_.size()),
        grad_wrong_(static_cast<size_t>(layer.heads.value_dim)) {}

  // Adds to the gradients of keys and queries; of_a_log and of_dt_bias are added to.
  void run(int head, int64_t start, int64_t length, double& of_a_log, double& of_dt_bias) {
    const auto size = static_cast<size_t>(layer_.state_size());
    const int64_t stretches = (length + kStretch - 1) / kStretch;
    std::vector<float> kept(static_cast<size_t>(stretches) * size), state(size);
    for (int64_t t = 0; t < length; ++t) {
      if (t % kStretch == 0) {
        std::ranges::copy(state, kept.begin() + static_cast<long>(t / kStretch) * ssize(size));
      }
      if (t < (stretches - 1) * kStretch) {
        take_in(layer_, layer_.token(start + t, head), state.data(), s_);
      }
    }
    // states[i]: before token i of the stretch
    std::vector<float> states((kStretch + 1) * size), grad_state(size);
    for (int64_t stretch = stretches; stretch-- > 0;) {
      const int64_t from = stretch * kStretch;
      const int64_t count = std::min(kStretch, length - from);
      std::copy_n(kept.begin() + static_cast<long>(stretch) * ssize(size), size, states.begin());
      for (int64_t i = 0; i < count; ++i) {
        float* const before = states.data() + static_cast<size_t>(i) * size;
        std::copy_n(before, size, before + size);
        take_in(layer_, layer_.token(start + from + i, head), before + size, s_);
      }
      for (int64_t i = count; i-- > 0;) {
        const float* const before = states.data() + static_cast<size_t>(i) * size;
        token_backward(head, start + from + i, before, before + size, grad_state.data(), of_a_log,
                       of_dt_bias);
      }
    }
  }

 private:
  static long ssize(size_t size) { return static_cast<long>(size); }

  // grad_state: of the state after the token, and then of the one before it.
  void token_backward(int head, int64_t t, const float* before, const float* after,
                      float* grad_state, double& of_a_log, double& of_dt_bias) {
    const DeltaHeads& h = layer_.heads;
    const int64_t rows = h.key_dim;
    const int64_t columns = h.value_dim;
    const Token token = layer_.token(t, head);
    const float* const grad = grad_y_.f32() + t * h.values() + int64_t{head} * columns;
    float* const grad_row = grad_qkv_.f32() + t * h.row();
    // y = S^T q
    std::ranges::fill(grad_query_, 0.0F);
    add_product(after, grad, grad_query_.data(), rows, columns);
    const float inverse_query = unit(token.query, layer_.query_scale(), s_.query.data(), rows);
    add_outer(grad_state, s_.query.data(), grad, rows, columns);
    add_unit_backward(grad_query_.data(), token.query, inverse_query, layer_.query_scale(),
                      grad_row + (token.query - row(t)), rows);
    // S = faded + k learn wrong^T
    const float inverse_key = unit(token.key, 1.0F, s_.key.data(), rows);
    ask(before, s_.key.data(), s_.wrong.data(), rows, columns);
    ask(grad_state, s_.key.data(), grad_wrong_.data(), rows, columns);
    double of_learn = 0.0;
    for (int64_t j = 0; j < columns; ++j) {
      const auto at = static_cast<size_t>(j);
      s_.wrong[at] = token.value[j] - token.fade * s_.wrong[at];
      s_.learnt[at] = token.learn * s_.wrong[at];
      of_learn += static_cast<double>(grad_wrong_[at]) * s_.wrong[at];
      grad_wrong_[at] *= token.learn;
    }
    std::ranges::fill(grad_key_, 0.0F);
    add_product(grad_state, s_.learnt.data(), grad_key_.data(), rows, columns);
    // wrong = value - faded^T k
    std::ranges::copy(grad_wrong_, grad_row + (token.value - row(t)));
    for (float& g : grad_wrong_) {
      g = -g;
    }
    std::vector<float>& of_key = s_.query;  // not needed any more
    std::ranges::fill(of_key, 0.0F);
    add_product(before, grad_wrong_.data(), of_key.data(), rows, columns);
    for (int64_t i = 0; i < rows; ++i) {
      grad_key_[static_cast<size_t>(i)] += token.fade * of_key[static_cast<size_t>(i)];
    }
    add_outer(grad_state, s_.key.data(), grad_wrong_.data(), rows, columns);
    add_unit_backward(grad_key_.data(), token.key, inverse_key, 1.0F,
                      grad_row + (token.key - row(t)), rows);
    // faded = before fade
    const double of_fade =
        block_sum(rows * columns, [&](int64_t i) { return grad_state[i] * before[i]; });
    fade_state(grad_state, token.fade, rows * columns);
    const double of_decay = of_fade * double{token.fade};
    const double of_a = of_decay * -std::exp(double{layer_.a_log.f32()[head]}) * sigmoid(token.a);
    float* const grad_rate = grad_rates_.f32() + t * 2 * h.value_heads + h.b_at(head);
    grad_rate[0] = static_cast<float>(of_learn * double{token.learn} * (1.0 - token.learn));
    grad_rate[h.a_after()] = static_cast<float>(of_a);
    of_a_log += of_decay * token.decay;
    of_dt_bias += of_a;
  }
  const float* row(int64_t t) const { return layer_.qkv.f32() + t * layer_.heads.row(); }

  const Layer& layer_;
  const Tensor& grad_y_;
  Tensor &grad_qkv_, &grad_rates_;
  Scratch s_;
  std::vector<float> grad_key_, grad_query_, grad_wrong_;
};

}  // namespace

void gated_delta_forward(Device& device, const Tensor& qkv, const Tensor& rates,
                         const Tensor& a_log, const Tensor& dt_bias, const Tensor& table,
                         const DeltaHeads& heads, Tensor& y, Tensor& /*workspace*/) {
  const Layer layer{qkv, rates, a_log, dt_bias, heads};
  zero_after(table, y);
  device.threads().for_each((table.shape[1] - 1) * heads.value_heads, [&](int64_t item, int) {
    const int64_t document = item / heads.value_heads;
    const int64_t start = table.i32()[document];
    std::vector<float> state(static_cast<size_t>(layer.state_size()));
    Scratch scratch(heads);
    forward(layer, static_cast<int>(item % heads.value_heads), start,
            table.i32()[document + 1] - start, state.data(), scratch, y.f32());
  });
}

void gated_delta_backward(Device& device, const Tensor& grad_y, const Tensor& qkv,
                          const Tensor& rates, const Tensor& a_log, const Tensor& dt_bias,
                          const Tensor& table, const DeltaHeads& heads, Tensor& grad_qkv,
                          Tensor& grad_rates, Tensor& grad_a_log, bool accumulate_a_log,
                          Tensor& grad_dt_bias, bool accumulate_dt_bias, Tensor& /*workspace*/) {
  const Layer layer{qkv, rates, a_log, dt_bias, heads};
  const int64_t documents = table.shape[1] - 1;
  device.zero(grad_qkv.data, grad_qkv.bytes());
  zero_after(table, grad_rates);
  // Of each document and head, added in the order of documents.
  std::vector<double> of_a_log(static_cast<size_t>(documents * heads.value_heads));
  std::vector<double> of_dt_bias(of_a_log.size());
  // The value heads of a key head add to the same gradients, one after the other.
  device.threads().for_each(documents * heads.key_heads, [&](int64_t item, int) {
    const int64_t document = item / heads.key_heads;
    const int64_t start = table.i32()[document];
    HeadBackward backward(layer, grad_y, grad_qkv, grad_rates);
    for (int i = 0; i < heads.served(); ++i) {
      const int head = static_cast<int>(item % heads.key_heads) * heads.served() + i;
      const auto at = static_cast<size_t>(document * heads.value_heads + head);
      backward.run(head, start, table.i32()[document + 1] - start, of_a_log[at], of_dt_bias[at]);
    }
  });
  const auto collect = [&](const std::vector<double>& parts, Tensor& grad, bool accumulate) {
    for (int head = 0; grad.data != nullptr && head < heads.value_heads; ++head) {
      double total = accumulate ? grad.f32()[head] : 0.0;
      for (int64_t d = 0; d < documents; ++d) {
        total += parts[static_cast<size_t>(d * heads.value_heads + head)];
      }
      grad.f32()[head] = static_cast<float>(total);
    }
  };
  collect(of_a_log, grad_a_log, accumulate_a_log);
  collect(of_dt_bias, grad_dt_bias, accumulate_dt_bias);
}

void cached_delta_forward(Device& device, const Tensor& qkv, const Tensor& rates,
                          const Tensor& a_log, const Tensor& dt_bias, const Tensor& past,
                          const Tensor& lanes, const DeltaHeads& heads, Tensor& state, Tensor& y) {
  const Layer layer{qkv, rates, a_log, dt_bias, heads};
  const int64_t fresh = qkv.shape[0] / lanes.shape[0];
  device.threads().for_each(lanes.shape[0] * heads.value_heads, [&](int64_t item, int) {
    const int64_t text = item / heads.value_heads;
    const int64_t head = item % heads.value_heads;
    float* const held =
        state.f32() + (lanes.i32()[text] * heads.value_heads + head) * layer.state_size();
    if (past.i32()[2 * text + 1] == 0) {
      std::fill_n(held, layer.state_size(), 0.0F);
    }
    Scratch scratch(heads);
    forward(layer, static_cast<int>(head), text * fresh, fresh, held, scratch, y.f32());
  });
}

}  // namespace sft::cpu
