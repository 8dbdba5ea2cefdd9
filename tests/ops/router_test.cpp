#include "ops/router.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "support/op_case.h"

namespace sft::testing {
namespace {

Numbers scores_of(const Numbers& logits, size_t token, const Routing& routing) {
  const auto n = static_cast<size_t>(routing.experts);
  Numbers s(logits.begin() + static_cast<int64_t>(token * n),
            logits.begin() + static_cast<int64_t>((token + 1) * n));
  double sum = 0;
  for (double& x : s) {
    x = routing.scores == Routing::Scores::sigmoid ? 1.0 / (1.0 + std::exp(-x)) : std::exp(x);
    sum += x;
  }
  for (double& x : s) {
    x /= routing.scores == Routing::Scores::sigmoid ? 1.0 : sum;
  }
  return s;
}

// The experts of a token, straight from the definition.
std::vector<size_t> choice_of(const Numbers& scores, const Numbers& correction,
                              const Routing& routing) {
  Numbers choice = scores;
  for (size_t e = 0; e < correction.size(); ++e) {
    choice[e] += correction[e];
  }
  const size_t size = choice.size() / static_cast<size_t>(routing.groups);
  std::vector<std::pair<double, size_t>> groups;
  for (size_t g = 0; g < static_cast<size_t>(routing.groups); ++g) {
    Numbers of(choice.begin() + static_cast<int64_t>(g * size),
               choice.begin() + static_cast<int64_t>((g + 1) * size));
    std::ranges::sort(of, std::greater<>());
    groups.emplace_back(-(of[0] + (size > 1 ? of[1] : 0.0)), g);
  }
  std::ranges::sort(groups);
  std::vector<size_t> order;
  for (int i = 0; i < routing.chosen_groups; ++i) {
    for (size_t e = 0; e < size; ++e) {
      order.push_back(groups[static_cast<size_t>(i)].second * size + e);
    }
  }
  std::ranges::stable_sort(order, [&](size_t a, size_t b) {
    return choice[a] > choice[b] || (choice[a] == choice[b] && a < b);
  });
  order.resize(static_cast<size_t>(routing.chosen));
  return order;
}

Numbers weights_of(const Numbers& logits, const Numbers& correction, const Routing& routing) {
  Numbers out;
  const size_t tokens = logits.size() / static_cast<size_t>(routing.experts);
  for (size_t t = 0; t < tokens; ++t) {
    const Numbers scores = scores_of(logits, t, routing);
    Numbers chosen;
    for (const size_t e : choice_of(scores, correction, routing)) {
      chosen.push_back(scores[e]);
    }
    const double sum = routing.normalise ? std::accumulate(chosen.begin(), chosen.end(), 0.0) : 1.0;
    for (const double x : chosen) {
      out.push_back(x / sum * static_cast<double>(routing.scale));
    }
  }
  return out;
}

// Logits that differ by a sixteenth at least within a token: no type and no small change makes
// another choice of them.
Operand distinct_logits(int64_t tokens, int64_t experts, uint64_t seed) {
  Operand o = activation({tokens, experts}, seed);
  const auto n = static_cast<size_t>(experts);
  for (size_t t = 0; t < static_cast<size_t>(tokens); ++t) {
    const auto row = o.values.begin() + static_cast<int64_t>(t * n);
    const Numbers drawn(row, row + experts);
    for (size_t e = 0; e < n; ++e) {
      const auto rank = std::ranges::count_if(drawn, [&](double x) { return x < drawn[e]; });
      row[static_cast<int64_t>(e)] = static_cast<double>(rank - experts / 2) / 16.0;
    }
  }
  return o;
}

OpCase route_case(int64_t tokens, const Routing& routing, bool corrected = false) {
  OpCase c;
  c.operands = {distinct_logits(tokens, routing.experts, 1)};
  if (corrected) {
    c.operands.push_back(frozen({routing.experts}, DType::f32, 2, 0.3));
    c.operands[1].wide = true;
  }
  c.build = [routing, corrected](Program& p, const std::vector<Value>& in) {
    return std::vector{route(p, in[0], corrected ? in[1] : Value{}, routing, {}).weights};
  };
  c.reference = [routing, corrected](const std::vector<Numbers>& in) {
    return std::vector<Numbers>{weights_of(in[0], corrected ? in[1] : Numbers{}, routing)};
  };
  return c;
}

TEST(Router, weights_and_their_gradient) {
  check_op(route_case(9, {.experts = 8, .chosen = 3}));
  check_op(route_case(33, {.experts = 40, .chosen = 8, .normalise = true}));
  check_op(route_case(5, {.experts = 4, .chosen = 4, .normalise = true}));
  check_op(route_case(5, {.experts = 5, .chosen = 1}));
}

TEST(Router, scores_by_sigmoid_with_a_correction_and_groups) {
  constexpr auto kSigmoid = Routing::Scores::sigmoid;
  check_op(route_case(
      9, {.experts = 8, .chosen = 3, .scores = kSigmoid, .normalise = true, .scale = 2.5F}));
  check_op(route_case(9, {.experts = 8, .chosen = 3, .scores = kSigmoid}, true));
  check_op(route_case(17,
                      {.experts = 12,
                       .chosen = 4,
                       .scores = kSigmoid,
                       .normalise = true,
                       .scale = 1.5F,
                       .groups = 3,
                       .chosen_groups = 2},
                      true));
}

// Of experts with the same score the lower number, on every device.
TEST(Router, equal_scores_are_taken_in_order) {
  for (const OpRun& options : runs_everywhere()) {
    OpCase c = route_case(2, {.experts = 70, .chosen = 3});
    c.operands[0].values.assign(140, 0.5);
    c.operands[0].values[69] = 1.0;
    c.build = [](Program& p, const std::vector<Value>& in) {
      const Routed routed = route(p, in[0], {}, {.experts = 70, .chosen = 3}, {});
      const Value experts = p.make("experts", p.shape(routed.experts));
      p.emit("to numbers", {routed.experts}, {experts}, [](const sft::Run& r) {
        std::vector<int32_t> numbers(static_cast<size_t>(r.in(0).shape.elements()));
        r.device().download(numbers.data(), r.in(0).data, r.in(0).bytes());
        const std::vector<float> floats(numbers.begin(), numbers.end());
        r.device().upload(r.out(0).data, floats.data(), r.out(0).bytes());
      });
      return std::vector{experts};
    };
    OpRun forward = options;
    forward.training = false;
    EXPECT_EQ(run_op(c, forward).outputs[0], (std::vector<float>{69, 0, 1, 0, 1, 2}));
  }
}

// load_balancing_loss_func of transformers: all layers' tokens as one; those behind the last
// document do not count.
OpCase balance_case(int64_t tokens, int counted, const Routing& routing, int layers) {
  OpCase c;
  for (int i = 0; i < layers; ++i) {
    c.operands.push_back(distinct_logits(tokens, routing.experts, 3 + static_cast<uint64_t>(i)));
  }
  c.operands.push_back(indices({0, counted / 2, counted, counted}));
  c.operands.push_back(frozen({1}, DType::f32, 9));
  c.operands.back().values = {1.0};
  c.operands.back().wide = true;
  c.build = [routing, layers](Program& p, const std::vector<Value>& in) {
    const Value documents = in[static_cast<size_t>(layers)];
    const Balance balance{documents, p.make("balance", {routing.experts})};
    Value load;
    for (int i = 0; i < layers; ++i) {
      const Value logits = in[static_cast<size_t>(i)];
      const Routed routed = route(p, logits, {}, routing, balance);
      load = expert_load(p, logits, routed.experts, documents, load);
    }
    const Value loss = p.make("loss", {1});
    emit_balance_loss(p, load, layers, in[static_cast<size_t>(layers + 1)], balance, loss);
    return std::vector{loss};
  };
  c.loss = [=](const std::vector<Numbers>& in) {
    const auto n = static_cast<size_t>(routing.experts);
    Numbers chosen(n), sums(n);
    for (int i = 0; i < layers; ++i) {
      for (size_t t = 0; t < static_cast<size_t>(counted); ++t) {
        const Numbers scores = scores_of(in[static_cast<size_t>(i)], t, routing);
        for (size_t e = 0; e < n; ++e) {
          sums[e] += scores[e];
        }
        for (const size_t e : choice_of(scores, {}, routing)) {
          chosen[e] += 1;
        }
      }
    }
    const double rows = double(counted) * layers;
    double sum = 0;
    for (size_t e = 0; e < n; ++e) {
      sum += rows == 0 ? 0.0 : chosen[e] / rows * sums[e] / rows;
    }
    return sum * double(routing.experts);
  };
  c.reference = [loss = c.loss](const std::vector<Numbers>& in) {
    return std::vector<Numbers>{Numbers{loss(in)}};
  };
  return c;
}

TEST(Router, auxiliary_loss_and_its_gradient) {
  check_op(balance_case(12, 12, {.experts = 6, .chosen = 2}, 1));
  check_op(balance_case(40, 31, {.experts = 9, .chosen = 3, .normalise = true}, 3));
}

TEST(Router, no_document_at_all_costs_nothing) {
  const OpResult r = run_op(balance_case(4, 0, {.experts = 6, .chosen = 2}, 1));
  EXPECT_EQ(r.outputs[0][0], 0.0F);
  EXPECT_EQ(r.gradients[0], std::vector<float>(24, 0.0F));
}

}  // namespace
}  // namespace sft::testing
