// The random orders that Python's training stack draws, bit for bit: PyTorch's CPU generator for
// the order of training, numpy's for `shuffle_dataset` and `test_split_size`. Used by the loader
// and by prepare_dataset; weights and dropout use core/rng.h instead.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace sft {

// torch.Generator("cpu").manual_seed(seed); only the low 32 bits of a seed count, as in PyTorch.
class TorchGenerator {
 public:
  explicit TorchGenerator(uint64_t seed) : engine_(static_cast<uint32_t>(seed)) {}
  uint32_t random() { return static_cast<uint32_t>(engine_()); }
  uint64_t random64() {
    const uint64_t high = random();
    return (high << 32) | random();
  }
  // tensor.uniform_(low, high) of float32 on the CPU: the next value.
  float uniform(float low, float high) {
    constexpr float kUnit = 1.0F / (1 << 24);
    const auto bits = random() & ((1U << 24) - 1);
    return std::fma(static_cast<float>(bits) * kUnit, high - low, low);
  }
  // tensor.normal_(0, deviation) of float32 on the CPU, within the last bits of log, sin and cos.
  void normal(std::span<float> values, float deviation = 1.0F);
  void discard(uint64_t values) { engine_.discard(values); }
  // Where it stands, as text.
  std::string state() const;
  void restore(const std::string& state);  // D062 when it is not one

 private:
  std::mt19937 engine_;
  std::optional<double> second_normal_;  // of a pair that was drawn together
};

// torch.randperm(n, generator=generator). O(n) time and 8n bytes.
std::vector<int64_t> torch_randperm(int64_t n, TorchGenerator& generator);

// numpy.random.default_rng(seed): PCG64 (XSL-RR 128/64) seeded through SeedSequence.
class NumpyGenerator {
 public:
  __extension__ using uint128 = unsigned __int128;

  explicit NumpyGenerator(uint64_t seed);
  uint64_t next64();
  uint32_t next32();  // halves of next64, the low one first
  // Uniform in [0, range], both ends included: the low bits of draws, until they fall in it.
  uint64_t bounded(uint64_t range);

 private:
  uint128 state_ = 0, increment_ = 0;
  uint32_t kept_ = 0;
  bool has_kept_ = false;
};

// numpy.random.default_rng(seed).permutation(n), which is datasets' `shuffle(seed)`.
std::vector<int64_t> numpy_permutation(int64_t n, NumpyGenerator& generator);

// datasets' `train_test_split(test_size, seed)`: the rows of each side, in their order. A size
// below 1 is a share of the rows (test rounded up), otherwise a number of rows. D060 when a side is
// empty.
struct TrainTestSplit {
  std::vector<int64_t> train, test;
};
TrainTestSplit train_test_split(int64_t n, double test_size, uint64_t seed);

}  // namespace sft
