// The page that shows one run or several: the same for `sft watch` and for report.html. It is made
// of parts, so that a browser is sent only what has changed. A pure function of what the runs'
// files say, of the view that is asked for, and of the time.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "report/charts/chart.h"
#include "report/page/run_charts.h"

namespace sft {

struct PageView {
  ChartView chart;
  int smoothing = kUsualSmoothing;
  double now = 0;                 // unix seconds
  std::optional<double> price{};  // of an hour of a run
  bool live = false;              // followed by a server: with buttons
  bool can_stop = false;          // it trains on this machine, and its process is known
};

struct PagePart {
  std::string id, html;
};

// What changes first, and is looked at first: the state and the loss.
std::vector<PagePart> glance_parts(std::span<const ShownRun> runs, const PageView& view);
std::vector<PagePart> page_parts(std::span<const ShownRun> runs, const PageView& view);

// The whole document. Live, its style and script are page.css and page.js beside it; otherwise they
// stand in it, and it needs nothing else.
std::string page_document(std::span<const ShownRun> runs, const PageView& view);

std::string_view page_style();
std::string_view page_script();

}  // namespace sft
