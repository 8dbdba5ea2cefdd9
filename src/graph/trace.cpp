#include "graph/trace.h"

#include "core/file.h"
#include "core/file_writer.h"
#include "core/json.h"

namespace sft {

Trace::Trace(Device& device, Order order) : device_(device), order_(order) {
  device_.synchronize();
  first_mark_ = device_.mark();
  start_ = std::chrono::steady_clock::now();
}

Trace::~Trace() { device_.forget_marks(); }

double Trace::now() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void Trace::work(std::string_view name, int block, bool aside, int begin, int end) {
  works_.push_back({std::string(name), block, aside, begin, end});
}

Trace::Phase::Phase(Trace* trace, std::string_view name, bool on_device)
    : trace_(trace), name_(name) {
  if (trace_ != nullptr) {
    begin_ = trace_->now();
    mark_ = on_device ? trace_->device_.mark() : -1;
  }
}

Trace::Phase::~Phase() {
  if (trace_ == nullptr) {
    return;
  }
  trace_->phases_.push_back({std::string(name_), begin_, trace_->now()});
  if (mark_ >= 0) {
    trace_->work(name_, -1, false, mark_, trace_->device_.mark());
  }
}

std::map<std::string, double> Trace::seconds_by_name() const {
  std::map<std::string, double> out;
  for (const Work& w : works_) {
    out[w.name] += device_.seconds_between(w.begin, w.end);
  }
  return out;
}

// The trace event format: complete events ("X") on one track each for host, device and what runs
// beside the device's main order.
void Trace::write(const std::filesystem::path& file) const {
  const auto event = [](std::string_view name, int track, double begin, double seconds) {
    return Json{{"name", name}, {"ph", "X"},         {"pid", 0},
                {"tid", track}, {"ts", begin * 1e6}, {"dur", seconds * 1e6}};
  };
  Json events = Json::array();
  const char* const tracks[] = {"host", "device", "device, aside"};
  for (int track = 0; track < 3; ++track) {
    events.push_back({{"name", "thread_name"},
                      {"ph", "M"},
                      {"pid", 0},
                      {"tid", track},
                      {"args", {{"name", tracks[track]}}}});
  }
  for (const HostPhase& p : phases_) {
    events.push_back(event(p.name, 0, p.begin, p.end - p.begin));
  }
  for (const Work& w : works_) {
    Json one = event(w.name, w.aside ? 2 : 1, device_.seconds_between(first_mark_, w.begin),
                     device_.seconds_between(w.begin, w.end));
    if (w.block >= 0) {
      one["args"] = {{"block", w.block}};
    }
    events.push_back(std::move(one));
  }
  const Json all = {{"displayTimeUnit", "ms"},
                    {"otherData", {{"device", device_.name()}}},
                    {"traceEvents", std::move(events)}};
  write_text(file, to_text(all));
}

}  // namespace sft
