#include "report/charts/chart.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <regex>

#include "report/charts/text.h"

namespace sft {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// The values that the path of a kind stands for, read back from its coordinates.
std::vector<std::pair<double, double>> drawn(const std::string& svg, const Frame& f,
                                             const std::string& kind) {
  std::vector<std::pair<double, double>> out;
  const size_t named = svg.find("data-" + kind + "=\"");
  if (named == std::string::npos) {
    return out;
  }
  constexpr std::string_view kBefore = "\" d=\"";
  const size_t begin = svg.find(kBefore, named) + kBefore.size();
  const std::string d = svg.substr(begin, svg.find('"', begin) - begin);
  const auto step = [&](double x) {
    return f.x0 + (x - f.left) / (f.right - f.left) * (f.x1 - f.x0);
  };
  const auto value = [&](double y) {
    const double share = (f.bottom - y) / (f.bottom - f.top);
    return f.log ? f.y0 * std::pow(f.y1 / f.y0, share) : f.y0 + share * (f.y1 - f.y0);
  };
  const std::regex point(kind == "band" ? "M([\\d.]+) ([\\d.-]+)V([\\d.-]+)"
                                        : "[ML]([\\d.]+) ([\\d.-]+)");
  for (std::sregex_iterator at(d.begin(), d.end(), point), end; at != end; ++at) {
    out.emplace_back(step(std::stod((*at)[1])), value(std::stod((*at)[kind == "band" ? 3 : 2])));
  }
  return out;
}

ChartSpec spec_of(const std::vector<double>& x, const std::vector<double>& y,
                  double smoothing = 1) {
  ChartSpec spec;
  spec.id = "loss";
  spec.title = "Loss";
  spec.lines.push_back({"training", {x, y, {}, {}}, 0, false, smoothing});
  return spec;
}

std::vector<double> steps(size_t n) {
  std::vector<double> x(n);
  for (size_t i = 0; i < n; ++i) {
    x[i] = static_cast<double>(i + 1);
  }
  return x;
}

TEST(Chart, WhatIsDrawnIsWhatWasGiven) {
  const std::vector<double> x = steps(200);
  std::vector<double> y;
  std::mt19937 random(1);
  for (size_t i = 0; i < x.size(); ++i) {
    y.push_back(2 + std::uniform_real_distribution<double>(-1, 1)(random));
  }
  for (const bool log : {false, true}) {
    ChartView view;
    view.log = log;
    const ChartSpec spec = spec_of(x, y);
    const auto line = drawn(draw_chart(spec, view), frame_of(spec, view), "line");
    ASSERT_EQ(line.size(), 200u);
    for (size_t i = 0; i < line.size(); ++i) {
      EXPECT_NEAR(line[i].first, x[i], 0.01);
      EXPECT_NEAR(line[i].second, y[i], 0.005 * y[i]);
    }
  }
}

TEST(Chart, NoPlantedSpikeIsLostAtAnyZoom) {
  constexpr size_t kRows = 100000;
  const std::vector<double> x = steps(kRows);
  std::vector<double> y(kRows, 1.0);
  std::mt19937 random(7);
  std::vector<size_t> spikes;
  for (int i = 0; i < 200; ++i) {
    spikes.push_back(std::uniform_int_distribution<size_t>(0, kRows - 1)(random));
    y[spikes.back()] = 50.0;
  }
  for (const double share : {1.0, 0.3, 0.02, 0.001}) {
    for (const int width : {300, 560, 1400}) {
      ChartView view;
      view.width = width;
      view.from = 1 + (1 - share) * 0.4 * kRows;
      view.to = *view.from + share * kRows;
      const ChartSpec spec = spec_of(x, y, kRows / 50.0);
      const Frame f = frame_of(spec, view);
      const auto band = drawn(draw_chart(spec, view), f, "band");
      for (const size_t at : spikes) {
        if (x[at] < *view.from || x[at] > *view.to) {
          continue;
        }
        const double pixel = (f.x1 - f.x0) / (f.right - f.left);
        EXPECT_TRUE(std::ranges::any_of(band,
                                        [&](const auto& column) {
                                          return std::abs(column.first - x[at]) <= 1.01 * pixel &&
                                                 column.second > 49;
                                        }))
            << "at " << x[at] << " of " << *view.from << " to " << *view.to;
      }
    }
  }
}

TEST(Chart, MeansShowTheExtremesThatTheyAreMadeOf) {
  const std::vector<double> x = steps(3), y{1, 1.1, 1.2}, low{0.5, 0.6, 0.7}, high{2, 9, 2.2};
  ChartSpec spec = spec_of(x, y);
  spec.lines[0].points.low = low;
  spec.lines[0].points.high = high;
  const ChartView view;
  const auto band = drawn(draw_chart(spec, view), frame_of(spec, view), "band");
  ASSERT_EQ(band.size(), 3u);
  EXPECT_NEAR(band[1].second, 9, 0.05);
}

TEST(Chart, ANumberThatIsNoneIsAMarkAndNoPoint) {
  const std::vector<double> x = steps(3), y{1, kNaN, 2};
  ChartSpec spec = spec_of(x, y);
  spec.marks.push_back({2, "loss is not finite"});
  const std::string svg = draw_chart(spec, {});
  EXPECT_EQ(drawn(svg, frame_of(spec, {}), "line").size(), 2u);
  EXPECT_NE(svg.find("class=\"bad\" data-x=\"2\""), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_NE(chart_table(spec, {}, 10).find("not finite"), std::string::npos);
}

TEST(Chart, NothingAtAllAndOnePointAreCharts) {
  const ChartSpec none = spec_of({}, {});
  EXPECT_NE(draw_chart(none, {}).find("</svg>"), std::string::npos);
  const std::vector<double> x{5}, y{0}, nan{kNaN};
  for (const auto* values : {&y, &nan}) {
    for (const bool log : {false, true}) {
      ChartView view;
      view.log = log;
      const std::string svg = draw_chart(spec_of(x, *values), view);
      EXPECT_EQ(svg.find("nan"), std::string::npos) << svg;
      EXPECT_EQ(svg.find("inf"), std::string::npos) << svg;
    }
  }
}

TEST(Chart, NamesFromOutsideStayText) {
  const std::vector<double> one{1};
  ChartSpec spec = spec_of(one, one);
  spec.title = spec.lines[0].name = "<script>alert(\"1\")</script>&'";
  spec.marks.push_back({1, "</svg><img src=x onerror=alert(1)>"});
  for (const std::string& text : {draw_chart(spec, {}), chart_table(spec, {}, 10)}) {
    EXPECT_EQ(text.find("<script"), std::string::npos);
    EXPECT_EQ(text.find("<img"), std::string::npos);
  }
  EXPECT_EQ(html_text("a\x01\xff<"), "a\xEF\xBF\xBD\xEF\xBF\xBD&lt;");
}

TEST(Chart, NoLabelIsCutAtTheEdges) {
  for (const size_t rows : {10, 70, 100, 1000, 12000, 1000000}) {
    for (const int width : {300, 390, 640, 1000}) {
      const std::vector<double> x =
          rows > 5000 ? std::vector<double>{1, static_cast<double>(rows)} : steps(rows);
      const ChartSpec spec = spec_of(x, std::vector<double>(x.size(), 1.0));
      ChartView view;
      view.width = width;
      const std::string svg = draw_chart(spec, view);
      const std::regex label(
          "<text x=\"([\\d.]+)\" y=\"[\\d.]+\" text-anchor=\"(middle|end)\">([^<]*)<");
      int across = 0;
      for (std::sregex_iterator at(svg.begin(), svg.end(), label), end; at != end; ++at) {
        const std::smatch& found = *at;
        const double letters = 7.5 * static_cast<double>(found[3].length());
        const double right = std::stod(found[1]) + (found[2] == "middle" ? letters / 2 : 0);
        EXPECT_LE(right, width) << rows << " rows, " << width << " wide: " << found[3];
        EXPECT_GE(right - letters, 0);
        ++across;
      }
      EXPECT_GE(across, 1);
    }
  }
}

TEST(MovingAverage, OfAConstantIsThatConstantFromTheFirstPointOn) {
  const std::vector<double> y(1000, 0.1);
  for (const double width : {1.0, 7.3, 500.0}) {
    for (const double value : moving_average(y, width)) {
      EXPECT_EQ(value, 0.1);
    }
  }
}

TEST(MovingAverage, IsTheWeightedMeanOfWhatWasSeen) {
  const std::vector<double> y{4, kNaN, 2, 8};
  const auto average = moving_average(y, 2);  // each point weighs half as much as the next
  EXPECT_DOUBLE_EQ(average[0], 4);
  EXPECT_DOUBLE_EQ(average[1], 4);
  EXPECT_DOUBLE_EQ(average[2], (0.5 * 4 + 2) / 1.5);
  EXPECT_DOUBLE_EQ(average[3], (0.25 * 4 + 0.5 * 2 + 8) / 1.75);
  EXPECT_TRUE(std::isnan(moving_average(std::vector<double>{kNaN}, 2)[0]));
}

TEST(ShortNumber, IsAsShortAsItCanBeAndHasNoPowerWhereDigitsDo) {
  EXPECT_EQ(short_number(1.23456), "1.235");
  EXPECT_EQ(short_number(1050.4, 3), "1050");
  EXPECT_EQ(short_number(2e-5), "2e-05");
  EXPECT_EQ(short_number(-0.0), "0");
  EXPECT_EQ(compact_number(161234), "161k");
  EXPECT_EQ(compact_number(1050.4), "1050");
  EXPECT_EQ(short_number(NAN), "not a number");
}

TEST(Ticks, AreRoundAndWithin) {
  EXPECT_EQ(ticks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  for (const auto& [low, high] : std::initializer_list<std::pair<double, double>>{
           {0, 1e-9}, {-3, 7}, {1e12, 1.1e12}, {5, 5}, {0, INFINITY}}) {
    const auto found = ticks(low, high, 5);
    ASSERT_FALSE(found.empty());
    EXPECT_LE(found.size(), 12u);
    EXPECT_GE(found.front(), low - std::abs(low) * 1e-9);
  }
}

}  // namespace
}  // namespace sft
