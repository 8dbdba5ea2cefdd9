#include "watch/site.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/numbers.h"
#include "core/strings.h"
#include "report/page/report_files.h"
#include "report/page/sections.h"

namespace sft {

namespace {

// Takes as long for a wrong token as for the right one.
bool same_text(std::string_view a, std::string_view b) {
  unsigned char difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size(); ++i) {
    difference |= static_cast<unsigned char>(a[i] ^ b[i % std::max<size_t>(b.size(), 1)]);
  }
  return difference == 0;
}

PageAnswer refused(int status, std::string text) {
  return {status, "text/plain; charset=utf-8", std::move(text) + "\n"};
}

bool is_address(std::string_view host) {
  return !host.empty() &&
         host.find_first_not_of(host.starts_with('[') ? "[]0123456789abcdefABCDEF:."
                                                      : "0123456789.") == std::string_view::npos;
}

}  // namespace

Site::Site(std::vector<std::filesystem::path> folders, SiteSettings settings)
    : settings_(std::move(settings)) {
  for (std::filesystem::path& folder : folders) {
    runs_.push_back(std::make_unique<RunFollower>(std::move(folder)));
  }
}

bool Site::poll() {
  bool any = false;
  std::string failure;
  for (const auto& run : runs_) {
    try {
      any = run->poll() || any;
    } catch (const Error& e) {
      failure = e.message();
    }
  }
  if (failure != failure_) {
    failure_ = failure;
    any = true;
  }
  version_ += any ? 1 : 0;
  return any;
}

bool Site::behind() const {
  return std::ranges::any_of(runs_, [](const auto& run) { return run->has_more(); });
}

std::vector<ShownRun> Site::shown_runs() const {
  std::vector<ShownRun> out;
  for (const auto& run : runs_) {
    out.push_back(shown(*run));
    out.back().unread = run->has_more() ? run->behind() : 0;
    for (size_t i = 0; i + 1 < out.size(); ++i) {  // two runs of one name go by their paths
      if (out[i].name == out.back().name) {
        out[i].name = out[i].folder;
        out.back().name = out.back().folder;
      }
    }
  }
  return out;
}

bool Site::is_host(std::string_view host) const {
  const size_t colon = host.rfind(':');
  const bool port =
      colon != std::string_view::npos && host.find(']', colon) == std::string_view::npos;
  const std::string name = to_lower(port ? host.substr(0, colon) : host);
  return std::ranges::find(settings_.hosts, name) != settings_.hosts.end() ||
         (settings_.any_address && is_address(name));
}

PageView Site::view_of(const PageRequest& request) const {
  PageView view;
  view.live = true;
  view.now = settings_.now();
  view.price = settings_.price;
  view.can_stop = static_cast<bool>(settings_.stop);
  const auto text = [&](const char* name) {
    const auto found = request.query.find(name);
    return found == request.query.end() ? std::string() : found->second;
  };
  view.chart.width = static_cast<int>(whole_number(text("w"), 280, 4000).value_or(560));
  view.chart.height = std::clamp(view.chart.width * 2 / 5, 200, 420);
  view.chart.log = text("log") == "1";
  view.smoothing = static_cast<int>(whole_number(text("smooth"), 0, 3).value_or(kUsualSmoothing));
  const auto from = real_number(text("from")), to = real_number(text("to"));
  if (from && to && *from < *to && std::abs(*from) < 1e15 && std::abs(*to) < 1e15) {
    view.chart.from = from;
    view.chart.to = to;
  }
  return view;
}

PageAnswer Site::stop(const PageRequest& request) {
  if (request.method != "POST") {
    return refused(405, "stop is a POST");
  }
  const std::string origin = request.header("origin");
  if (request.header("x-sft") != "stop" ||
      (!origin.empty() && origin != "http://" + request.header("host"))) {
    return refused(403, "only this server's own page may stop the run");
  }
  if (!settings_.stop) {
    return refused(409, "the run is over, or trains on another machine");
  }
  try {
    return {200, "text/plain; charset=utf-8", settings_.stop()};
  } catch (const Error& e) {
    return refused(409, e.message());
  }
}

Site::Reply Site::reply(const PageRequest& request) {
  if (!is_host(request.header("host"))) {
    return {refused(421, "this server is not called that"), {}};
  }
  const std::string prefix = "/" + settings_.token + "/";
  if (!same_text(request.path.substr(0, prefix.size()), prefix)) {
    return {refused(403, "open the address that sft has printed"), {}};
  }
  const std::string name = request.path.substr(prefix.size());
  if (name == "stop") {
    return {stop(request), {}};
  }
  if (request.method != "GET" && request.method != "HEAD") {
    return {refused(405, "only GET"), {}};
  }
  if (name == "page.css") {
    return {PageAnswer{200, "text/css; charset=utf-8", std::string(page_style())}, {}};
  }
  if (name == "page.js") {
    return {PageAnswer{200, "text/javascript; charset=utf-8", std::string(page_script())}, {}};
  }
  if (name.empty()) {
    return {
        PageAnswer{200, "text/html; charset=utf-8", page_document(shown_runs(), view_of(request))},
        {}};
  }
  if (name == "report") {
    PageView view;
    view.now = settings_.now();
    view.price = settings_.price;
    return {PageAnswer{200, "text/html; charset=utf-8", page_document(shown_runs(), view)}, {}};
  }
  if (name == "events" && request.method == "GET") {
    return {{}, OpenPage{view_of(request), {}, -1, 0}};
  }
  return {refused(404, "there is nothing of this name"), {}};
}

bool Site::is_due(const OpenPage& page) const {
  return page.version != version_ || static_cast<int64_t>(settings_.now()) != page.second;
}

bool Site::is_glance_due(const OpenPage& page) const {
  return page.version >= 0 && page.version != version_ && page.glanced != version_;
}

std::string Site::event(OpenPage& page, bool glance) {
  page.view.now = settings_.now();
  page.view.can_stop = static_cast<bool>(settings_.stop);
  const std::vector<ShownRun> runs = shown_runs();
  const bool whole = !glance && page.version != version_;
  std::vector<PagePart> parts;
  if (whole) {
    parts = page_parts(runs, page.view);
  } else if (glance) {
    parts = glance_parts(runs, page.view);
  } else {
    parts.push_back({"status", status_section(runs, page.view)});
  }
  if (!failure_.empty()) {
    parts.front().html += fmt::format("<p class=\"why\">{}</p>", failure_);
  }
  Json changed = Json::array(), ids = Json::array();
  std::vector<std::pair<std::string, size_t>> now;
  for (PagePart& part : parts) {
    const size_t hash = std::hash<std::string>()(part.html);
    const std::pair<std::string, size_t> mark{part.id, hash};
    ids.push_back(part.id);
    if (std::ranges::find(page.sent, mark) == page.sent.end()) {
      changed.push_back({{"id", part.id}, {"html", std::move(part.html)}});
    }
    now.push_back(mark);
  }
  if (whole) {
    page.sent = std::move(now);
    page.version = version_;
  } else {
    for (const auto& mark : now) {
      const auto old =
          std::ranges::find(page.sent, mark.first, &std::pair<std::string, size_t>::first);
      if (old != page.sent.end()) {
        old->second = mark.second;
      }
    }
  }
  page.glanced = glance || whole ? version_ : page.glanced;
  page.second = static_cast<int64_t>(page.view.now);
  if (changed.empty()) {
    return "";
  }
  int64_t offset = 0;
  for (const auto& run : runs_) {
    offset += run->offset();
  }
  return fmt::format("id: {}\ndata: {}\n\n", offset,
                     to_text({{"parts", std::move(changed)},
                              {"ids", std::move(ids)},
                              {"complete", whole},
                              {"offset", offset}}));
}

}  // namespace sft
