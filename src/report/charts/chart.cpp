#include "report/charts/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "report/charts/text.h"

namespace sft {

namespace {

constexpr double kLeft = 52, kRight = 10, kTop = 12, kBottom = 26;
constexpr double kCharacter = 7.5;  // no letter of a label is wider
constexpr size_t kMostDots = 400;   // single points are marked up to so many
constexpr size_t kMostMarks = 200;  // of a kind; beyond, neighbours share one

// Colours by class, so that a page can have them dark and light; a file of its own brings this.
constexpr const char* kStyle =
    "svg{background:#fff;color:#1b1f24;font:12px system-ui,sans-serif}"
    "text{fill:currentColor}.grid{stroke:#8884;stroke-width:1}.band,.line{fill:none}"
    ".band{opacity:.3}.single{stroke-width:3;stroke-linecap:round;opacity:.5}.line{stroke-width:1."
    "8;stroke-linejoin:round}"
    ".c0{stroke:#2563c9}.c1{stroke:#c2530a}.c2{stroke:#13805c}.c3{stroke:#8b3fb5}"
    ".dot.c0{fill:#2563c9}.dot.c1{fill:#c2530a}.dot.c2{fill:#13805c}.dot.c3{fill:#8b3fb5}"
    ".level{stroke:#888;stroke-dasharray:5 4}.bad{fill:#c0182b;stroke:#c0182b}"
    ".spike{fill:#b86e00;stroke:#b86e00}.saved{fill:#888;stroke:#888}.key{stroke-width:3}"
    "@media(prefers-color-scheme:dark){svg{background:#15181d;color:#e6e8eb}"
    ".c0{stroke:#6ea8fe}.c1{stroke:#f39c5a}.c2{stroke:#45c496}.c3{stroke:#c490e4}"
    ".dot.c0{fill:#6ea8fe}.dot.c1{fill:#f39c5a}.bad{fill:#ff6b7a;stroke:#ff6b7a}"
    ".spike{fill:#f0b23e;stroke:#f0b23e}}";

bool drawable(double y, bool log) { return std::isfinite(y) && (!log || y > 0); }

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void take(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
};

Range range_of_x(const ChartSpec& spec, const ChartView& view) {
  Range x;
  for (const ChartLine& line : spec.lines) {
    if (!line.points.x.empty()) {
      x.take(line.points.x.front());
      x.take(line.points.x.back());
    }
  }
  for (const ChartMark& mark : spec.marks) {
    x.take(mark.x);
  }
  if (view.from) {
    x.low = *view.from;
  }
  if (view.to) {
    x.high = *view.to;
  }
  if (x.empty()) {
    x = {0, 1};
  }
  if (x.low == x.high) {
    x = {x.low - 0.5, x.high + 0.5};
  }
  return x;
}

Range range_of_y(const ChartSpec& spec, const ChartView& view, const Range& x) {
  Range y;
  for (const ChartLine& line : spec.lines) {
    const PointSeries& p = line.points;
    const auto begin = static_cast<size_t>(std::ranges::lower_bound(p.x, x.low) - p.x.begin());
    const auto end = static_cast<size_t>(std::ranges::upper_bound(p.x, x.high) - p.x.begin());
    for (size_t i = begin; i < end; ++i) {
      for (const double value :
           {p.y[i], i < p.low.size() ? p.low[i] : p.y[i], i < p.high.size() ? p.high[i] : p.y[i]}) {
        if (drawable(value, view.log)) {
          y.take(value);
        }
      }
    }
  }
  if (y.empty()) {
    y = view.log ? Range{0.1, 1} : Range{0, 1};
  }
  if (spec.level && drawable(*spec.level, view.log)) {
    y.take(*spec.level);
  }
  if (spec.from_zero && !view.log) {
    y.take(0);
  }
  if (view.log) {
    const double room = std::max(std::pow(y.high / y.low, 0.04), 1.02);
    return {y.low / room, y.high * room};
  }
  const double room =
      y.high > y.low ? (y.high - y.low) * 0.05 : std::max(std::abs(y.high) * 0.1, 1e-12);
  return {spec.from_zero && y.low == 0 ? 0 : y.low - room, y.high + room};
}

std::vector<double> log_ticks(double low, double high) {
  std::vector<double> out;
  for (int power = static_cast<int>(std::floor(std::log10(low)));
       power <= static_cast<int>(std::ceil(std::log10(high))); ++power) {
    for (const double part : {1.0, 2.0, 5.0}) {
      const double value = part * std::pow(10.0, power);
      if (value >= low && value <= high) {
        out.push_back(value);
      }
    }
  }
  while (out.size() > 7) {  // every second one
    std::vector<double> fewer;
    for (size_t i = 0; i < out.size(); i += 2) {
      fewer.push_back(out[i]);
    }
    out = fewer;
  }
  return out.size() < 2 ? ticks(low, high, 4) : out;
}

void draw_axes(std::string& out, const Frame& f, const std::string& unit) {
  const int across = std::clamp(static_cast<int>((f.right - f.left) / 80), 2, 10);
  const int up = std::clamp(static_cast<int>((f.bottom - f.top) / 40), 2, 8);
  for (const double y : f.log ? log_ticks(f.y0, f.y1) : ticks(f.y0, f.y1, up)) {
    const std::string at = coordinate(f.up(y));
    out += fmt::format("<path class=\"grid\" d=\"M{} {}H{}\"/>", coordinate(f.left), at,
                       coordinate(f.right));
    out += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\" dy=\".32em\">{}</text>",
                       coordinate(f.left - 6), at, compact_number(y));
  }
  for (const double x : ticks(f.x0, f.x1, across)) {
    const std::string label = compact_number(x);
    const double half = kCharacter / 2 * static_cast<double>(label.size());
    const bool inside = f.across(x) + half <= f.right + kRight;  // else it ends with the picture
    out += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"{}\">{}</text>",
                       coordinate(inside ? f.across(x) : f.right + kRight - 1),
                       coordinate(f.bottom + 17), inside ? "middle" : "end", label);
  }
  if (!unit.empty()) {
    out += fmt::format("<text class=\"unit\" x=\"{}\" y=\"{}\">{}</text>", coordinate(f.left + 4),
                       coordinate(f.top + 8), html_text(unit));
  }
}

void draw_line(std::string& out, const ChartLine& line, const Frame& f) {
  const int columns = std::max(1, static_cast<int>(f.right - f.left));
  const std::vector<double> average =
      line.smoothing > 1 ? moving_average(line.points.y, line.smoothing) : std::vector<double>();
  const std::vector<DrawnColumn> drawn = reduce(line.points, average, f.x0, f.x1, columns);
  std::string band, path, dots;
  size_t points = 0;
  for (const DrawnColumn& c : drawn) {
    points += c.points;
  }
  for (const DrawnColumn& c : drawn) {
    const std::string x = coordinate(f.across(c.x));
    if (c.low != c.high || !average.empty()) {
      const double low = f.log && c.low <= 0 ? f.y0 : c.low;
      if (drawable(c.high, f.log)) {  // with round caps a single value shows as a dot
        band += fmt::format("M{} {}V{}", x, coordinate(f.up(low)), coordinate(f.up(c.high)));
      }
    }
    if (drawable(c.average, f.log)) {
      path += fmt::format("{}{} {}", path.empty() ? "M" : "L", x, coordinate(f.up(c.average)));
      if (line.dots || (points <= 60 && average.empty())) {
        dots += fmt::format("<circle class=\"dot c{}\" cx=\"{}\" cy=\"{}\" r=\"{}\"/>", line.color,
                            x, coordinate(f.up(c.average)), line.dots ? "3" : "2");
      }
    }
  }
  if (!band.empty()) {
    // Where each column is one point, points are dots that can be seen.
    const bool single = points == drawn.size() && line.points.high.empty();
    out += fmt::format("<path class=\"band{} c{}\" data-band=\"{}\" d=\"{}\"/>",
                       single ? " single" : "", line.color, html_text(line.name), band);
  }
  if (!path.empty()) {
    out += fmt::format("<path class=\"line c{}\" data-line=\"{}\" d=\"{}\"/>", line.color,
                       html_text(line.name), path);
  }
  if (points <= kMostDots) {
    out += dots;
  }
}

void draw_marks(std::string& out, const ChartSpec& spec, const Frame& f) {
  double last[3] = {-1e9, -1e9, -1e9};
  size_t within = 0;
  for (const ChartMark& mark : spec.marks) {
    within += mark.x >= f.x0 && mark.x <= f.x1 ? 1 : 0;
  }
  for (const ChartMark& mark : spec.marks) {
    if (mark.x < f.x0 || mark.x > f.x1) {
      continue;
    }
    const double x = f.across(mark.x);
    double& before = last[static_cast<int>(mark.kind)];
    if (within > kMostMarks && x - before < 1.0) {
      continue;  // on the same pixel as one of its kind
    }
    before = x;
    const char* kind = mark.kind == ChartMark::Kind::bad     ? "bad"
                       : mark.kind == ChartMark::Kind::spike ? "spike"
                                                             : "saved";
    const std::string at = coordinate(x);
    if (mark.kind == ChartMark::Kind::saved) {
      out +=
          fmt::format("<path class=\"saved\" data-x=\"{}\" d=\"M{} {}v5\"><title>{}</title></path>",
                      coordinate(mark.x), at, coordinate(f.bottom), html_text(mark.text));
    } else {  // a triangle under the axis' end, and for what is not finite a line all the way
      out += fmt::format(
          "<path class=\"{}\" data-x=\"{}\" d=\"M{} {}l-4 -7h8z{}\"><title>{}</title></path>", kind,
          coordinate(mark.x), at, coordinate(f.top + 1),
          mark.kind == ChartMark::Kind::bad
              ? fmt::format("M{} {}V{}", at, coordinate(f.top), coordinate(f.bottom))
              : "",
          html_text(mark.text));
    }
  }
}

void draw_legend(std::string& out, const ChartSpec& spec, const Frame& f) {
  if (spec.lines.size() < 2 && !spec.level) {
    return;
  }
  double x = f.right;
  std::string items;
  const auto item = [&](const std::string& shape, const std::string& name) {
    const double width = 24 + 6.6 * static_cast<double>(std::min<size_t>(name.size(), 40));
    x -= width;
    items +=
        fmt::format("<path class=\"key {}\" d=\"M{} {}h14\"/><text x=\"{}\" y=\"{}\">{}</text>",
                    shape, coordinate(x), coordinate(f.top + 5), coordinate(x + 18),
                    coordinate(f.top + 9), html_text(name.substr(0, 40)));
  };
  if (spec.level) {
    item("level", spec.level_name);
  }
  for (auto line = spec.lines.rbegin(); line != spec.lines.rend(); ++line) {
    if (x > f.left + 120 && !line->points.x.empty()) {
      item(fmt::format("c{}", line->color), line->name);
    }
  }
  out += items;
}

}  // namespace

double Frame::across(double x) const { return left + (x - x0) / (x1 - x0) * (right - left); }

double Frame::up(double y) const {
  const double share =
      log ? (std::log(y) - std::log(y0)) / (std::log(y1) - std::log(y0)) : (y - y0) / (y1 - y0);
  return bottom - share * (bottom - top);
}

std::vector<double> ticks(double low, double high, int wanted) {
  const double rough = (high - low) / std::max(wanted, 1);
  if (!(rough > 0) || !std::isfinite(rough)) {
    return {low};
  }
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = power * 10;
  for (const double part : {1.0, 2.0, 5.0}) {
    if (part * power >= rough) {
      step = part * power;
      break;
    }
  }
  std::vector<double> out;
  const double first = std::ceil(low / step - 1e-9);
  for (int i = 0; i < 100 && (first + i) * step <= high + step * 1e-9; ++i) {
    out.push_back((first + i) * step);
  }
  return out;
}

Frame frame_of(const ChartSpec& spec, const ChartView& view) {
  const Range x = range_of_x(spec, view);
  const Range y = range_of_y(spec, view, x);
  return {x.low,   x.high, y.low, y.high, kLeft, view.width - kRight, kTop, view.height - kBottom,
          view.log};
}

std::string draw_chart(const ChartSpec& spec, const ChartView& view) {
  const Frame f = frame_of(spec, view);
  std::string out = fmt::format(
      "<svg {}class=\"chart\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\" data-id=\"{}\" "
      "data-x0=\"{}\" data-x1=\"{}\" data-y0=\"{}\" data-y1=\"{}\" data-left=\"{}\" "
      "data-right=\"{}\" data-top=\"{}\" data-bottom=\"{}\" data-log=\"{}\">",
      view.alone ? fmt::format("xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" ",
                               view.width, view.height)
                 : "",
      view.width, view.height, html_text(spec.title + ": " + spec.sentence), html_text(spec.id),
      f.x0, f.x1, f.y0, f.y1, f.left, f.right, f.top, f.bottom, f.log ? 1 : 0);
  if (view.alone) {
    out += fmt::format("<title>{}</title><style>{}</style>", html_text(spec.title), kStyle);
  }
  draw_axes(out, f, spec.unit);
  if (spec.level && drawable(*spec.level, f.log)) {
    out += fmt::format("<path class=\"level\" data-level=\"{}\" d=\"M{} {}H{}\"/>", *spec.level,
                       coordinate(f.left), coordinate(f.up(*spec.level)), coordinate(f.right));
  }
  for (const ChartLine& line : spec.lines) {
    draw_line(out, line, f);
  }
  draw_marks(out, spec, f);
  draw_legend(out, spec, f);
  return out + "</svg>";
}

std::string chart_table(const ChartSpec& spec, const ChartView& view, int rows) {
  const Frame f = frame_of(spec, view);
  std::string out = "<table><thead><tr><th>line<th>step<th>points<th>lowest<th>highest<th>last";
  out += "</thead><tbody>";
  for (const ChartLine& line : spec.lines) {
    for (const DrawnColumn& c : reduce(line.points, {}, f.x0, f.x1, rows)) {
      out += fmt::format("<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}", html_text(line.name),
                         short_number(c.x, 10), c.points, short_number(c.low, 6),
                         short_number(c.high, 6), short_number(c.average, 6));
    }
  }
  for (const ChartMark& mark : spec.marks) {
    if (mark.kind == ChartMark::Kind::bad) {
      out += fmt::format("<tr><td>not finite<td>{}<td colspan=4>{}", short_number(mark.x, 10),
                         html_text(mark.text));
    }
  }
  return out + "</tbody></table>";
}

}  // namespace sft
