#include "report/charts/reduce.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace sft {

std::vector<double> moving_average(std::span<const double> y, double width) {
  const double keep = 1.0 - 1.0 / std::max(width, 1.0);
  std::vector<double> out(y.size());
  // The mean of what is seen, weighted by keep^age: sum and weight are kept, so nothing is biased.
  double sum = 0, weight = 0;
  double last = std::numeric_limits<double>::quiet_NaN();
  for (size_t i = 0; i < y.size(); ++i) {
    if (std::isfinite(y[i])) {
      // As a step from the last mean, so that a constant stays one to the last bit.
      weight = weight * keep + 1.0;
      sum = weight == 1.0 ? y[i] : sum + (y[i] - sum) / weight;
      last = sum;
    }
    out[i] = last;
  }
  return out;
}

std::vector<DrawnColumn> reduce(const PointSeries& s, std::span<const double> average, double from,
                                double to, int columns) {
  const auto begin = static_cast<size_t>(std::ranges::lower_bound(s.x, from) - s.x.begin());
  const auto end = static_cast<size_t>(std::ranges::upper_bound(s.x, to) - s.x.begin());
  const bool alone = end - begin <= static_cast<size_t>(columns);
  const double per_x = to > from ? columns / (to - from) : 0;
  std::vector<DrawnColumn> out;
  int at = -1;
  for (size_t i = begin; i < end; ++i) {
    const double y = s.y[i];
    if (!std::isfinite(y)) {
      continue;
    }
    const double low = i < s.low.size() && std::isfinite(s.low[i]) ? std::min(s.low[i], y) : y;
    const double high = i < s.high.size() && std::isfinite(s.high[i]) ? std::max(s.high[i], y) : y;
    const int column = std::min(static_cast<int>((s.x[i] - from) * per_x), columns - 1);
    if (alone || out.empty() || column != at) {
      out.push_back({s.x[i], low, high, average.empty() ? y : average[i], 1});
      at = column;
      continue;
    }
    DrawnColumn& last = out.back();
    last.x = s.x[i];
    last.low = std::min(last.low, low);
    last.high = std::max(last.high, high);
    last.average = average.empty() ? y : average[i];
    ++last.points;
  }
  return out;
}

}  // namespace sft
