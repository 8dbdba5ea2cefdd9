// Recovers transformers' parameters of Llama 3's rope scaling from the divisors that GGUF stores.

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/json.h"
#include "io/gguf/config.h"

namespace sft {

namespace {

struct Llama3Rope {
  double factor, low, high, original;
};

// Turns per token of each frequency: the inverse of its wavelength.
std::vector<double> turns(size_t n, double theta) {
  std::vector<double> result(n);
  for (size_t i = 0; i < n; ++i) {
    const double exponent = static_cast<double>(i) / static_cast<double>(n);
    result[i] = std::pow(theta, -exponent) / (2 * std::numbers::pi);
  }
  return result;
}

double divisor(const Llama3Rope& rope, double turns_per_token) {
  const double cycles = rope.original * turns_per_token;
  if (cycles > rope.high) {
    return 1;
  }
  if (cycles < rope.low) {
    return rope.factor;
  }
  const double smooth = (cycles - rope.low) / (rope.high - rope.low);
  return 1 / ((1 - smooth) / rope.factor + smooth);
}

bool fits(const Llama3Rope& rope, const std::vector<float>& divisors,
          const std::vector<double>& frequencies) {
  for (size_t i = 0; i < divisors.size(); ++i) {
    if (std::abs(divisor(rope, frequencies[i]) / double{divisors[i]} - 1) > 1e-4) {
      return false;
    }
  }
  return true;
}

double snap(double x) {
  const double whole = std::round(x);
  return std::abs(x - whole) < 1e-3 * std::max(1.0, std::abs(x)) ? whole : x;
}

// Between the two thresholds the interpolation weight is a straight line in the frequency; its
// slope and intercept give the thresholds. A single point on it gives them together with the
// thresholds of every published model, 1 and 4.
std::optional<Llama3Rope> fit_line(const std::vector<float>& divisors,
                                   const std::vector<double>& frequencies, double factor) {
  double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0;
  for (size_t i = 0; i < divisors.size(); ++i) {
    const double d = divisors[i];
    if (d > 1.0001 && d < factor * 0.9999) {
      const double x = frequencies[i];
      const double y = (1 / d - 1 / factor) / (1 - 1 / factor);
      n += 1, sx += x, sy += y, sxx += x * x, sxy += x * y;
    }
  }
  if (n == 1) {
    return Llama3Rope{factor, 1, 4, snap((1 + 3 * sy) / sx)};
  }
  const double spread = n * sxx - sx * sx;
  if (n < 2 || !(spread > 0)) {
    return std::nullopt;
  }
  const double slope = (n * sxy - sx * sy) / spread;
  const double intercept = (sy - slope * sx) / n;
  if (!(intercept < 0) || !(slope > 0)) {
    return std::nullopt;
  }
  const double high = snap(1 - 1 / intercept);
  return Llama3Rope{factor, 1, high, snap(slope * (high - 1))};
}

}  // namespace

std::optional<Json> llama3_rope_from_divisors(const std::vector<float>& divisors, double theta) {
  if (divisors.empty() || !std::all_of(divisors.begin(), divisors.end(),
                                       [](float d) { return std::isfinite(d) && d >= 1; })) {
    return std::nullopt;
  }
  const auto frequencies = turns(divisors.size(), theta);
  const double factor = snap(*std::max_element(divisors.begin(), divisors.end()));
  if (factor == 1) {
    return std::nullopt;
  }
  // The published models' values first; too few points may lie on the line to fit one.
  std::optional<Llama3Rope> rope = Llama3Rope{factor, 1, 4, 8192};
  if (!fits(*rope, divisors, frequencies)) {
    rope = fit_line(divisors, frequencies, factor);
  }
  if (!rope || !fits(*rope, divisors, frequencies)) {
    return std::nullopt;
  }
  return Json{{"factor", rope->factor},
              {"high_freq_factor", rope->high},
              {"low_freq_factor", rope->low},
              {"original_max_position_embeddings", static_cast<int64_t>(rope->original)},
              {"rope_type", "llama3"}};
}

}  // namespace sft
