#include "report/page/page.h"

#include <fmt/format.h>

#include "report/charts/text.h"
#include "report/page/embedded.h"
#include "report/page/sections.h"

namespace sft {

namespace {

constexpr int kTableRows = 100;

PagePart chart_part(const ChartSpec& spec, const ChartView& view) {
  return {"chart-" + spec.id,
          fmt::format("<h2>{}</h2><p class=\"say\">{}</p>{}<details><summary>as a table</summary>{}"
                      "</details>",
                      html_text(spec.title), html_text(spec.sentence), draw_chart(spec, view),
                      chart_table(spec, view, kTableRows))};
}

std::string title_of(std::span<const ShownRun> runs) {
  std::string title;
  for (const ShownRun& run : runs) {
    title += (title.empty() ? "" : ", ") + run.name;
  }
  return title;
}

std::string section(const PagePart& part, const char* kind) {
  return part.html.empty()
             ? fmt::format("<section id=\"{}\" class=\"{}\" hidden></section>\n", part.id, kind)
             : fmt::format("<section id=\"{}\" class=\"{}\">{}</section>\n", part.id, kind,
                           part.html);
}

}  // namespace

std::string_view page_style() { return embedded::page_css; }
std::string_view page_script() { return embedded::page_js; }

std::vector<PagePart> glance_parts(std::span<const ShownRun> runs, const PageView& view) {
  return {{"status", status_section(runs, view)},
          chart_part(loss_chart(runs, view.smoothing), view.chart)};
}

std::vector<PagePart> page_parts(std::span<const ShownRun> runs, const PageView& view) {
  std::vector<PagePart> parts{{"status", status_section(runs, view)}};
  for (const ChartSpec& spec : charts_of(runs, view.smoothing)) {
    parts.push_back(chart_part(spec, view.chart));
  }
  parts.push_back({"time", time_section(runs)});
  for (const ChartSpec& spec : device_charts(runs)) {
    ChartView plain = view.chart;
    plain.log = false;
    parts.push_back(chart_part(spec, plain));
  }
  parts.push_back({"devices", device_section(runs)});
  parts.push_back({"events", event_section(runs)});
  parts.push_back({"samples", sample_section(runs)});
  parts.push_back({"settings", settings_section(runs)});
  parts.push_back({"about", about_section(runs, view.live)});
  return parts;
}

std::string page_document(std::span<const ShownRun> runs, const PageView& view) {
  const std::string title = html_text(title_of(runs));
  std::string out = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n",
      title);
  if (view.live) {
    out += "<link rel=\"stylesheet\" href=\"page.css\">\n";
  } else {
    out += fmt::format("<style>{}</style>\n", page_style());
  }
  out += fmt::format("</head>\n<body data-live=\"{}\">\n", view.live ? 1 : 0);
  std::string wide, grid, rest;
  for (const PagePart& part : page_parts(runs, view)) {
    if (part.id == "status") {
      wide += fmt::format("<header id=\"status\">{}</header>\n", part.html);
    } else if (part.id.starts_with("chart-") || part.id == "time") {
      grid += section(part, "card");
    } else {
      rest += section(part, "wide");
    }
  }
  out += wide;
  out +=
      "<p id=\"keys\" hidden>drag: zoom &middot; <kbd>0</kbd> all &middot; <kbd>l</kbd> log "
      "scale &middot; <kbd>s</kbd> smoothing &middot; <kbd>+</kbd> <kbd>-</kbd> "
      "<kbd>&larr;</kbd> <kbd>&rarr;</kbd> nearer, further, earlier, later</p>\n";
  out += "<main>\n<div class=\"grid\" id=\"grid\">\n" + grid + "</div>\n" + rest + "</main>\n";
  out += "<p id=\"readout\" role=\"status\" aria-live=\"off\" hidden></p>\n";
  if (view.live) {
    out += "<script src=\"page.js\"></script>\n";
  } else {
    out += fmt::format("<script>{}</script>\n", page_script());
  }
  return out + "</body>\n</html>\n";
}

}  // namespace sft
