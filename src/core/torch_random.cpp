#include "core/torch_random.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <sstream>
#include <utility>

#include "core/error.h"

namespace sft {

std::string TorchGenerator::state() const {
  std::ostringstream out;
  out << engine_;
  return out.str();
}

void TorchGenerator::restore(const std::string& state) {
  std::istringstream in(state);
  std::mt19937 engine;
  if (!(in >> engine)) {
    throw Error("D062", "the checkpoint's random state is damaged")
        .hint("resume from an earlier checkpoint");
  }
  engine_ = engine;
}

// Box and Muller (1958): small tensors one value after the other in float64, larger ones in blocks
// of 16, the last of which may lie over the one before.
void TorchGenerator::normal(std::span<float> values, float deviation) {
  constexpr size_t kBlock = 16, kHalf = kBlock / 2;
  constexpr double kTurn = 2 * std::numbers::pi;
  if (values.size() < kBlock) {
    const auto unit = [&] {
      return static_cast<double>(random64() & ((uint64_t{1} << 53) - 1)) * 0x1p-53;
    };
    for (float& value : values) {
      double x = second_normal_.value_or(0.0);
      if (!std::exchange(second_normal_, std::nullopt)) {
        const double angle = kTurn * unit();
        const double radius = std::sqrt(-2.0 * std::log1p(-unit()));
        second_normal_ = radius * std::sin(angle);
        x = radius * std::cos(angle);
      }
      value = static_cast<float>(x * static_cast<double>(deviation));
    }
    return;
  }
  const auto fill = [&](std::span<float> block) {
    for (size_t i = 0; i < kHalf; ++i) {
      const float radius = std::sqrt(-2.0F * std::log(1.0F - block[i]));
      const float angle = static_cast<float>(kTurn) * block[i + kHalf];
      block[i] = radius * std::cos(angle) * deviation;
      block[i + kHalf] = radius * std::sin(angle) * deviation;
    }
  };
  for (float& value : values) {
    value = uniform(0.0F, 1.0F);
  }
  for (size_t at = 0; at + kBlock <= values.size(); at += kBlock) {
    fill(values.subspan(at, kBlock));
  }
  if (values.size() % kBlock != 0) {
    const std::span<float> last = values.last(kBlock);
    for (float& value : last) {
      value = uniform(0.0F, 1.0F);
    }
    fill(last);
  }
}

std::vector<int64_t> torch_randperm(int64_t n, TorchGenerator& generator) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  // PyTorch keeps 32-bit draws for the sizes where their modulo is close to uniform.
  if (n < std::numeric_limits<uint32_t>::max() / 20) {
    std::iota(order.begin(), order.end(), 0);
    for (int64_t i = 0; i < n - 1; ++i) {
      const int64_t step = generator.random() % static_cast<uint64_t>(n - i);
      std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(i + step)]);
    }
    return order;
  }
  for (int64_t i = 0; i < n; ++i) {
    const uint64_t z = generator.random64() % static_cast<uint64_t>(i + 1);
    order[static_cast<size_t>(i)] = order[z];
    order[z] = i;
  }
  return order;
}

namespace {

// numpy.random.SeedSequence(seed).generate_state(4, uint64): M. E. O'Neill's seed_seq with a pool
// of four words (pcg-random.org, "Developing a seed_seq alternative").
class SeedSequence {
 public:
  explicit SeedSequence(uint64_t seed) {
    std::vector<uint32_t> entropy = {static_cast<uint32_t>(seed)};
    if ((seed >> 32) != 0) {
      entropy.push_back(static_cast<uint32_t>(seed >> 32));
    }
    for (size_t i = 0; i < pool_.size(); ++i) {
      pool_[i] = hash(i < entropy.size() ? entropy[i] : 0);
    }
    for (size_t from = 0; from < pool_.size(); ++from) {
      for (size_t to = 0; to < pool_.size(); ++to) {
        if (from != to) {
          pool_[to] = mix(pool_[to], hash(pool_[from]));
        }
      }
    }
  }

  std::array<uint64_t, 4> state() const {
    std::array<uint32_t, 8> words{};
    uint32_t factor = 0x8b51f9dd;
    for (size_t i = 0; i < words.size(); ++i) {
      uint32_t value = pool_[i % pool_.size()] ^ factor;
      factor *= 0x58f38ded;
      value *= factor;
      words[i] = value ^ (value >> 16);
    }
    std::array<uint64_t, 4> out{};
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = words[2 * i] | (uint64_t{words[2 * i + 1]} << 32);
    }
    return out;
  }

 private:
  uint32_t hash(uint32_t value) {
    value ^= factor_;
    factor_ *= 0x931e8875;
    value *= factor_;
    return value ^ (value >> 16);
  }
  static uint32_t mix(uint32_t x, uint32_t y) {
    const uint32_t value = x * 0xca01f9dd - y * 0x4973f715;
    return value ^ (value >> 16);
  }

  std::array<uint32_t, 4> pool_{};
  uint32_t factor_ = 0x43b0d7e5;
};

using uint128 = NumpyGenerator::uint128;

constexpr uint128 wide(uint64_t high, uint64_t low) {
  return (static_cast<uint128>(high) << 64) | low;
}

constexpr uint128 kPcgMultiplier = wide(2549297995355413924U, 4865540595714422341U);

}  // namespace

NumpyGenerator::NumpyGenerator(uint64_t seed) {
  const auto words = SeedSequence(seed).state();
  increment_ = (wide(words[2], words[3]) << 1) | 1;
  state_ = (increment_ + wide(words[0], words[1])) * kPcgMultiplier + increment_;
}

uint64_t NumpyGenerator::next64() {
  state_ = state_ * kPcgMultiplier + increment_;
  const auto high = static_cast<uint64_t>(state_ >> 64);
  const uint64_t value = high ^ static_cast<uint64_t>(state_);
  const unsigned turn = static_cast<unsigned>(high >> 58);
  return (value >> turn) | (value << ((64 - turn) & 63));
}

uint32_t NumpyGenerator::next32() {
  if (has_kept_) {
    has_kept_ = false;
    return kept_;
  }
  const uint64_t both = next64();
  kept_ = static_cast<uint32_t>(both >> 32);
  has_kept_ = true;
  return static_cast<uint32_t>(both);
}

uint64_t NumpyGenerator::bounded(uint64_t range) {
  if (range == 0) {
    return 0;
  }
  const uint64_t mask = std::numeric_limits<uint64_t>::max() >> std::countl_zero(range);
  while (true) {
    const uint64_t value = (range <= 0xffffffffU ? next32() : next64()) & mask;
    if (value <= range) {
      return value;
    }
  }
}

std::vector<int64_t> numpy_permutation(int64_t n, NumpyGenerator& generator) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = n - 1; i > 0; --i) {
    std::swap(order[static_cast<size_t>(i)], order[generator.bounded(static_cast<uint64_t>(i))]);
  }
  return order;
}

TrainTestSplit train_test_split(int64_t n, double test_size, uint64_t seed) {
  const bool share = test_size < 1;
  const auto tests =
      static_cast<int64_t>(share ? std::ceil(test_size * static_cast<double>(n)) : test_size);
  if (!(test_size > 0) || tests <= 0 || tests >= n) {
    throw Error("D060",
                fmt::format("test_split_size {} leaves one side of {} rows empty", test_size, n))
        .hint("give a share between 0 and 1, or a number of rows smaller than the data set");
  }
  NumpyGenerator generator(seed);
  const auto order = numpy_permutation(n, generator);
  return {{order.begin() + tests, order.end()}, {order.begin(), order.begin() + tests}};
}

}  // namespace sft
