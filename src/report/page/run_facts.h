// What follows from a run's history: how far it is, how fast, what it will still take, and what the
// evaluations say. Pure functions; the page, the report, the model card and `sft watch` show them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "report/history/run_history.h"

namespace sft {

struct RunFacts {
  std::string status;  // running, done, stopped, failed, silent
  std::string why;     // of one that failed
  int64_t step = 0;
  std::optional<int64_t> total;
  std::optional<double> loss, tokens_per_s, mfu, step_s;  // of the newest log line
  double elapsed_s = 0;
  std::optional<double> left_s;  // where it is running and its end is known
  std::optional<double> kwh, kwh_left;
  std::optional<double> cost, cost_left;
  std::optional<double> memory, memory_total, temperature, power, power_limit;  // of all devices
  std::optional<double> best_eval;
  int64_t best_step = 0;
  int64_t evals_since_best = 0;
  std::optional<double> last_eval;
};

// `now`: unix seconds; a run from which nothing has been heard for long is silent. `price`: of an
// hour of the whole run.
RunFacts facts_of(const RunHistory& run, double now, std::optional<double> price);

// Seconds by activity, over rows of the `time` lines: "forward and backward", 171.2.
struct Activity {
  const char* key;
  const char* name;
  double seconds = 0;
};
struct TimeSplit {
  std::vector<Activity> activities;
  double seconds = 0, steps = 0;
};
// Of the last `rows` rows; 0: all.
TimeSplit time_split(const RunHistory& run, size_t rows);

// Kilowatt-hours that the devices have taken, by the samples of their power.
std::optional<double> energy(const RunHistory& run);

// Where a column's finite values lie.
struct Spread {
  size_t count = 0;
  double median = 0, low = 0, high = 0;
  double low_step = 0, high_step = 0;
  double first = 0, last = 0;  // means of the first and the last tenth
};
std::optional<Spread> spread_of(const Table& table, std::string_view column);

}  // namespace sft
