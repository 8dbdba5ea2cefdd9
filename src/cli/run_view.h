// A run on a terminal: what is done before the first step, a line for each log line that fits the
// width, and a progress line with the loss as a curve where there is room. Made of the lines of
// metrics.jsonl. Where stdout is no terminal the log lines are TRL's and come from the run itself.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "cli/terminal.h"
#include "core/json_fwd.h"

namespace sft {

class RunView {
 public:
  // `bar`: without one nothing is redrawn.
  RunView(Terminal& terminal, bool bar);
  ~RunView();  // no stage is shown any more
  RunView(const RunView&) = delete;
  RunView& operator=(const RunView&) = delete;

  void stage(std::string_view what);
  void line(const Json& line);
  void step(int64_t done, int64_t total, std::string_view tail);
  void eval_batch(int64_t done, int64_t total);
  void finish();

 private:
  std::string tail(std::string_view now) const;

  Terminal& terminal_;
  bool bar_;
  std::unique_ptr<Progress> steps_, batches_;
  std::vector<double> losses_;  // of log lines
  double eval_ = 0, best_ = 0;
  int64_t best_step_ = 0, total_ = 0;
  bool evaluated_ = false;
};

// A log line, an evaluation's or the last one as people read it, within `width` columns: what
// matters least is left out. "" for other lines.
std::string run_line(const Json& line, int64_t total, int width);

// The values as a curve of `cells` characters, each the mean of some neighbours.
std::string block_curve(const std::vector<double>& values, size_t cells, bool utf8);

}  // namespace sft
