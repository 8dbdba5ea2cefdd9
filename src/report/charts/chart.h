// One chart as SVG: axes, bands of everything between lowest and highest, averages, points, a
// level, and marks of what happened. Live page, report and loss.svg are drawn by this and nothing
// else. What is drawn can be read back: see `Frame`.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "report/charts/reduce.h"

namespace sft {

struct ChartLine {
  std::string name;
  PointSeries points;
  int color = 0;      // 0 to 7, of the page's palette
  bool dots = false;  // every point is shown: evaluations
  // A moving average over so many points is drawn, and the points themselves as a pale band; 1:
  // the points alone.
  double smoothing = 1;
};

struct ChartMark {
  double x = 0;
  std::string text;
  enum class Kind { bad, spike, saved } kind = Kind::bad;
};

struct ChartSpec {
  std::string id, title, unit;
  std::string sentence;  // what the chart shows, in words
  std::vector<ChartLine> lines;
  std::vector<ChartMark> marks;
  std::optional<double> level{};
  std::string level_name{};
  bool from_zero = false;
};

struct ChartView {
  int width = 560, height = 240;
  bool log = false;
  std::optional<double> from{}, to{};  // of x; none: everything
  bool alone = false;                  // an SVG file of its own, with its own style
};

// Where values are on the picture: what the svg element says as data-x0, ... too.
struct Frame {
  double x0 = 0, x1 = 1, y0 = 0, y1 = 1;            // values at the edges
  double left = 0, right = 1, top = 0, bottom = 1;  // the edges
  bool log = false;
  double across(double x) const;
  double up(double y) const;
};

Frame frame_of(const ChartSpec& spec, const ChartView& view);
std::string draw_chart(const ChartSpec& spec, const ChartView& view);

// The same numbers as a table, for those who do not see the picture: at most `rows` of them, each
// of neighbouring points.
std::string chart_table(const ChartSpec& spec, const ChartView& view, int rows);

// Round values within a range, about `wanted` of them.
std::vector<double> ticks(double low, double high, int wanted);

}  // namespace sft
