// Times each matrix product of a block of experts with adapters, beside dense products of as many
// rows, which the device's library multiplies.
//   experts_bench [TOKENS EXPERTS CHOSEN HIDDEN INTERMEDIATE RANK]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/rng.h"
#include "formats/convert.h"
#include "ops/kernels.h"

using namespace sft;

namespace {

struct Work {
  int64_t tokens = 8192, experts = 128, chosen = 8, hidden = 2048, intermediate = 768, rank = 16;
  int64_t rows() const { return tokens * chosen; }
};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The experts of each token, no two the same: at random, or each expert as often as the others.
std::vector<int32_t> draw_experts(const Work& w, bool evenly) {
  std::vector<int32_t> out;
  std::vector<int32_t> order(static_cast<size_t>(w.experts));
  for (int64_t t = 0; t < w.tokens; ++t) {
    std::iota(order.begin(), order.end(), 0);
    for (int64_t i = 0; i < w.chosen; ++i) {
      const auto left = static_cast<uint32_t>(w.experts - i);
      const auto drawn = philox(7, static_cast<uint64_t>(t), static_cast<uint64_t>(i))[0] % left;
      std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(i) + drawn]);
      out.push_back(evenly ? static_cast<int32_t>((t * w.chosen + i) % w.experts)
                           : order[static_cast<size_t>(i)]);
    }
  }
  return out;
}

class Bench {
 public:
  explicit Bench(const Work& work) : w_(work), device_(Device::cuda(0, 2)) {
    std::vector<float> wide(kNoise);
    for (int64_t i = 0; i < kNoise; ++i) {
      wide[static_cast<size_t>(i)] = normal(1, 0, static_cast<uint64_t>(i));
    }
    std::vector<std::byte> narrow(kNoise * 2);
    convert_from_f32(DType::bf16, wide.data(), kNoise, narrow.data());
    noise_ = device_->allocate(narrow.size());
    device_->upload(noise_.data(), narrow.data(), narrow.size());
  }

  void run() {
    fmt::print("{}: {} rows, {} experts, {} x {}, rank {} and {}\n", device_->name(), w_.rows(),
               w_.experts, w_.hidden, w_.intermediate, w_.rank, 2 * w_.rank);
    for (const bool evenly : {true, false}) {
      const Tensor starts = sort(evenly);
      fmt::print("{}\n", evenly ? "every expert has as many rows" : "experts drawn at random");
      layer("gate_up", starts, w_.hidden, 2 * w_.intermediate, 2 * w_.rank);
      layer("down", starts, w_.intermediate, w_.hidden, w_.rank);
      held_.clear();
    }
  }

 private:
  static constexpr int64_t kNoise = int64_t{1} << 20;

  Tensor tensor(Shape shape, DType type) {
    Tensor t{nullptr, shape, type};
    held_.push_back(device_->allocate(t.bytes()));
    t.data = held_.back().data();
    return t;
  }
  Tensor random(Shape shape) {
    Tensor t = tensor(shape, DType::bf16);
    const size_t bytes = t.bytes();
    for (size_t at = 0; at < bytes; at += noise_.size()) {
      device_->copy(t.as<std::byte>() + at, noise_.data(), std::min(bytes - at, noise_.size()));
    }
    return t;
  }
  Tensor sort(bool evenly) {
    const std::vector<int32_t> drawn = draw_experts(w_, evenly);
    Tensor experts = tensor({w_.tokens, w_.chosen}, DType::i32);
    device_->upload(experts.data, drawn.data(), experts.bytes());
    Tensor starts = tensor({w_.experts + 1}, DType::i32);
    Tensor rows = tensor({w_.rows()}, DType::i32);
    Tensor slots = tensor({w_.tokens, w_.chosen}, DType::i32);
    time("  sorting", 0, [&] { ops().sort_by_expert(*device_, experts, starts, rows, slots); });
    return starts;
  }
  const OpKernels& ops() { return kernels(*device_); }

  // Seconds of a call, the median of several runs of some.
  double time(const std::string& name, double flop, const std::function<void()>& call) {
    constexpr int kRuns = 5, kCalls = 6;
    call();
    call();
    std::vector<double> seconds;
    for (int run = 0; run < kRuns; ++run) {
      device_->synchronize();
      const double start = now();
      for (int i = 0; i < kCalls; ++i) {
        call();
      }
      device_->synchronize();
      seconds.push_back((now() - start) / kCalls);
    }
    std::ranges::sort(seconds);
    const double median = seconds[kRuns / 2];
    fmt::print("{:40} {:8.1f} us", name, median * 1e6);
    if (flop > 0) {
      fmt::print(" {:8.1f} TFLOP/s", flop / median / 1e12);
    }
    fmt::print("\n");
    return median;
  }

  void layer(const std::string& name, const Tensor& starts, int64_t in, int64_t out, int64_t rank) {
    const int64_t rows = w_.rows();
    const size_t before = held_.size();
    const Tensor x = random({rows, in}), weight = random({w_.experts * out, in});
    const Tensor a = random({w_.experts * rank, in}), given_b = random({out, w_.experts * rank});
    Tensor b = tensor({w_.experts * out, rank}, DType::bf16);
    Tensor low = random({rows, rank}), y = random({rows, out});
    Tensor grad_a = tensor(a.shape, DType::f32), grad_b = tensor(b.shape, DType::f32);
    Tensor grad_x = tensor(x.shape, DType::bf16);
    Tensor grad_given = tensor(given_b.shape, DType::f32);
    const auto flop = [&](int64_t k, int64_t n) {
      return 2.0 * static_cast<double>(rows) * static_cast<double>(k) * static_cast<double>(n);
    };
    const auto product = [&](const Tensor& from, const Tensor& matrix, const Tensor& more,
                             const Tensor& more_matrix, bool turned, Tensor& to) {
      return [&, turned] {
        ops().grouped_product(*device_, from, matrix, more, more_matrix, starts, turned, 1.0F, to,
                              false);
      };
    };
    const auto outer = [&](const Tensor& left, const Tensor& right, Tensor& to) {
      return [&] { ops().grouped_outer(*device_, left, right, starts, to, false); };
    };
    const std::string of = "  " + name + ": ";
    time(of + "B by expert", 0, [&] { ops().split_by_expert(*device_, given_b, b); });
    time(of + "x A^T", flop(in, rank), product(x, a, {}, {}, false, low));
    time(of + "x W^T", flop(in, out), product(x, weight, {}, {}, false, y));
    time(of + "x W^T + low B^T", flop(in + rank, out), product(x, weight, low, b, false, y));
    time(of + "dY B", flop(out, rank), product(y, b, {}, {}, true, low));
    time(of + "dY W", flop(out, in), product(y, weight, {}, {}, true, grad_x));
    time(of + "dY W + dlow A", flop(out + rank, in), product(y, weight, low, a, true, grad_x));
    time(of + "dB", flop(out, rank), outer(y, low, grad_b));
    time(of + "dA", flop(in, rank), outer(low, x, grad_a));
    time(of + "dB's order", 0,
         [&] { ops().split_by_expert_backward(*device_, grad_b, grad_given, false); });
    const Tensor dense = random({out, in});
    time(of + "dense x W^T", flop(in, out),
         [&] { ops().linear_forward(*device_, x, dense, {}, 1.0F, y, false); });
    time(of + "dense dY W", flop(in, out),
         [&] { ops().linear_backward_input(*device_, y, dense, 1.0F, grad_x, false); });
    device_->synchronize();
    held_.resize(before);
  }

  Work w_;
  std::unique_ptr<Device> device_;
  Buffer noise_;
  std::vector<Buffer> held_;
};

}  // namespace

int main(int argc, char** argv) {
  Work w;
  int64_t* const numbers[] = {&w.tokens, &w.experts,      &w.chosen,
                              &w.hidden, &w.intermediate, &w.rank};
  for (int i = 1; i < argc && i <= 6; ++i) {
    *numbers[i - 1] = std::atoll(argv[i]);
  }
  try {
    Bench(w).run();
  } catch (const Error& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 1;
  }
  return 0;
}
