#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include "ops/router.h"

namespace sft::cpu {

namespace {

constexpr int64_t kGrain = 16;  // tokens that are worth a thread

// The scores of one token's experts.
void score_row(const float* logits, int64_t n, Routing::Scores kind, float* scores) {
  if (kind == Routing::Scores::sigmoid) {
    for (int64_t e = 0; e < n; ++e) {
      scores[e] = 1.0F / (1.0F + std::exp(-logits[e]));
    }
    return;
  }
  const float most = *std::max_element(logits, logits + n);
  double sum = 0;
  for (int64_t e = 0; e < n; ++e) {
    scores[e] = std::exp(logits[e] - most);
    sum += static_cast<double>(scores[e]);
  }
  const auto factor = static_cast<float>(1.0 / sum);
  for (int64_t e = 0; e < n; ++e) {
    scores[e] *= factor;
  }
}

// Which of `values` are the highest, the best first; of equal ones the lower number.
void choose(const std::vector<float>& values, int count, std::vector<int32_t>& order) {
  order.resize(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](int32_t a, int32_t b) {
    const float x = values[static_cast<size_t>(a)];
    const float y = values[static_cast<size_t>(b)];
    return x > y || (x == y && a < b);
  });
}

// Leaves the scores of the groups that are looked at, and puts those of others below any.
void choose_groups(const Routing& routing, std::vector<float>& scores,
                   std::vector<int32_t>& order) {
  const size_t size = scores.size() / static_cast<size_t>(routing.groups);
  std::vector<float> worth(static_cast<size_t>(routing.groups));
  for (size_t g = 0; g < worth.size(); ++g) {
    std::vector<float> group(scores.begin() + static_cast<int64_t>(g * size),
                             scores.begin() + static_cast<int64_t>((g + 1) * size));
    std::ranges::partial_sort(group, group.begin() + 2, std::greater<>());
    worth[g] = group[0] + group[1];
  }
  choose(worth, routing.chosen_groups, order);
  for (size_t i = static_cast<size_t>(routing.chosen_groups); i < worth.size(); ++i) {
    std::fill_n(scores.begin() + static_cast<int64_t>(static_cast<size_t>(order[i]) * size), size,
                -std::numeric_limits<float>::infinity());
  }
}

float weight_factor(const Routing& routing, const float* scores, const int32_t* experts) {
  if (!routing.normalise) {
    return routing.scale;
  }
  float sum = routing.scores == Routing::Scores::sigmoid ? 1e-20F : 0.0F;
  for (int i = 0; i < routing.chosen; ++i) {
    sum += scores[experts[i]];
  }
  return routing.scale / sum;
}

int64_t tokens_of(const Tensor& documents) {
  return documents.i32()[documents.shape[documents.shape.rank() - 1] - 1];
}

}  // namespace

void route_forward(Device& device, const Tensor& logits, const Tensor& correction,
                   const Routing& routing, Tensor& weights, Tensor& experts) {
  const int64_t n = routing.experts;
  device.threads().parallel_for(
      logits.shape[0],
      [&](int64_t begin, int64_t end) {
        std::vector<float> scores(static_cast<size_t>(n)), choice;
        std::vector<int32_t> order;
        for (int64_t t = begin; t < end; ++t) {
          score_row(logits.f32() + t * n, n, routing.scores, scores.data());
          choice = scores;
          if (correction.data != nullptr) {
            std::ranges::transform(choice, std::span(correction.f32(), choice.size()),
                                   choice.begin(), std::plus<>());
          }
          if (routing.groups > 1) {
            choose_groups(routing, choice, order);
          }
          choose(choice, routing.chosen, order);
          int32_t* const to = experts.i32() + t * routing.chosen;
          std::copy_n(order.begin(), routing.chosen, to);
          const float factor = weight_factor(routing, scores.data(), to);
          for (int i = 0; i < routing.chosen; ++i) {
            weights.f32()[t * routing.chosen + i] = scores[static_cast<size_t>(to[i])] * factor;
          }
        }
      },
      kGrain);
}

void route_backward(Device& device, const Tensor& grad_weights, const Tensor& logits,
                    const Tensor& experts, const Tensor& balance, const Tensor& documents,
                    const Routing& routing, Tensor& grad_logits) {
  const int64_t n = routing.experts;
  const int64_t counted = balance.data == nullptr ? 0 : tokens_of(documents);
  device.threads().parallel_for(
      logits.shape[0],
      [&](int64_t begin, int64_t end) {
        std::vector<float> scores(static_cast<size_t>(n)), grad(static_cast<size_t>(n));
        for (int64_t t = begin; t < end; ++t) {
          score_row(logits.f32() + t * n, n, routing.scores, scores.data());
          std::ranges::fill(grad, 0.0F);
          if (t < counted) {
            std::copy_n(balance.f32(), n, grad.begin());
          }
          if (grad_weights.data != nullptr) {
            const int32_t* const to = experts.i32() + t * routing.chosen;
            const float* const g = grad_weights.f32() + t * routing.chosen;
            const float factor = weight_factor(routing, scores.data(), to);
            float mean = 0;  // by which all of them change the sum that they are divided by
            if (routing.normalise) {
              for (int i = 0; i < routing.chosen; ++i) {
                mean += g[i] * scores[static_cast<size_t>(to[i])] * factor / routing.scale;
              }
            }
            for (int i = 0; i < routing.chosen; ++i) {
              grad[static_cast<size_t>(to[i])] += (g[i] - mean) * factor;
            }
          }
          float* const out = grad_logits.f32() + t * n;
          if (routing.scores == Routing::Scores::sigmoid) {
            for (int64_t e = 0; e < n; ++e) {
              const float s = scores[static_cast<size_t>(e)];
              out[e] = grad[static_cast<size_t>(e)] * s * (1.0F - s);
            }
            continue;
          }
          const double mean = std::transform_reduce(
              grad.begin(), grad.end(), scores.begin(), 0.0, std::plus<>(),
              [](float a, float b) { return static_cast<double>(a) * static_cast<double>(b); });
          for (int64_t e = 0; e < n; ++e) {
            out[e] = scores[static_cast<size_t>(e)] *
                     (grad[static_cast<size_t>(e)] - static_cast<float>(mean));
          }
        }
      },
      kGrain);
}

void expert_load(Device& device, const Tensor& logits, const Tensor& experts,
                 const Tensor& documents, const Tensor& before, Tensor& load) {
  const int64_t n = logits.shape[1];
  const int64_t chosen = experts.shape[1];
  const int64_t tokens = tokens_of(documents);
  // A thread has experts to itself, and goes over the tokens in order.
  std::vector<float> scores(static_cast<size_t>(tokens * n));
  device.threads().parallel_for(
      tokens,
      [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          score_row(logits.f32() + t * n, n, Routing::Scores::softmax, scores.data() + t * n);
        }
      },
      kGrain);
  device.threads().parallel_for(n, [&](int64_t begin, int64_t end) {
    for (int64_t e = begin; e < end; ++e) {
      double sum = before.data == nullptr ? 0.0 : static_cast<double>(before.f32()[n + e]);
      for (int64_t t = 0; t < tokens; ++t) {
        sum += static_cast<double>(scores[static_cast<size_t>(t * n + e)]);
      }
      const auto count =
          static_cast<float>(std::count(experts.i32(), experts.i32() + tokens * chosen, e));
      load.f32()[e] = (before.data == nullptr ? 0.0F : before.f32()[e]) + count;
      load.f32()[n + e] = static_cast<float>(sum);
    }
  });
}

void balance_loss(Device& /*device*/, const Tensor& load, const Tensor& documents, int layers,
                  const Tensor& scale, Tensor& loss, Tensor& gradient) {
  const int64_t n = load.shape[1];
  const double rows = static_cast<double>(tokens_of(documents)) * layers;
  double sum = 0;
  for (int64_t e = 0; e < n; ++e) {
    const double share = rows > 0 ? static_cast<double>(load.f32()[e]) / rows : 0.0;
    sum += rows > 0 ? share * static_cast<double>(load.f32()[n + e]) / rows : 0.0;
    gradient.f32()[e] = rows > 0 ? static_cast<float>(static_cast<double>(scale.f32()[0]) *
                                                      static_cast<double>(n) * share / rows)
                                 : 0.0F;
  }
  loss.f32()[0] = static_cast<float>(sum * static_cast<double>(n));
}

}  // namespace sft::cpu
