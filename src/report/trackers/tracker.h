// Programs that follow a run beside metrics.jsonl: a tracker reads the same lines as that file has
// and writes what its own readers understand. run.cpp makes them, RunLog feeds them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/json_fwd.h"
#include "core/log.h"

namespace sft {

struct TrainOptions;

class Tracker {
 public:
  virtual ~Tracker() = default;
  virtual std::string name() const = 0;
  // One line of metrics.jsonl ("k", "t", ...), its numbers not yet text: NaN is still NaN.
  virtual void line(const Json& line) = 0;
};

// Values as transformers' callbacks name them: eval_loss is eval/loss, anything else train/...
std::string tracked_name(std::string_view name);

// The numbers of a log, eval or finish line, by transformers' names, in order.
std::vector<std::pair<std::string, double>> tracked_values(const Json& line);

// The variable's value; "" when it is not set.
using Variables = std::function<std::string(const char* name)>;

// The trackers of a run. One that fails is left out from then on, after one warning: following a
// run never ends it.
class Trackers {
 public:
  // Makes what --report_to asks for, and says where it goes.
  Trackers(const TrainOptions& options, const Variables& variables, const Logger& log);
  explicit Trackers(const Logger& log) : log_(log) {}

  void add(std::unique_ptr<Tracker> tracker) { trackers_.push_back(std::move(tracker)); }
  void line(const Json& line);
  bool empty() const { return trackers_.empty(); }

 private:
  const Logger& log_;
  std::vector<std::unique_ptr<Tracker>> trackers_;
};

}  // namespace sft
