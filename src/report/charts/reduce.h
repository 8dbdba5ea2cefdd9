// Any number of points as columns of a picture: the lowest and the highest of each, so that no
// spike is ever lost, and an average. Used by the charts.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace sft {

// What is drawn of some neighbouring points.
struct DrawnColumn {
  double x = 0;              // of the last point
  double low = 0, high = 0;  // of all
  double average = 0;        // the moving average at the last point
  size_t points = 0;
};

struct PointSeries {
  std::span<const double> x, y;         // x does not fall; what is not finite in y is left out
  std::span<const double> low, high{};  // what y is a mean of, where that is known; else empty
};

// The moving average whose weight on what came before is 1 - 1/`width`, freed of its bias to the
// first values: a constant stays that constant. One value for each of y; of what is not finite
// that before it, or NaN.
std::vector<double> moving_average(std::span<const double> y, double width);

// The points from `from` to `to` in at most `columns` columns of equal width; with no more points
// than columns, each has its own.
std::vector<DrawnColumn> reduce(const PointSeries& series, std::span<const double> average,
                                double from, double to, int columns);

}  // namespace sft
