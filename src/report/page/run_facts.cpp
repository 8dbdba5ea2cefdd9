#include "report/page/run_facts.h"

#include <algorithm>
#include <cmath>

namespace sft {

namespace {

std::optional<double> newest(const Table& table, std::string_view column) {
  const auto values = table.column(column);
  for (size_t i = values.size(); i-- > 0;) {
    if (std::isfinite(values[i])) {
      return values[i];
    }
  }
  return std::nullopt;
}

// Seconds a step, evaluations and saves included, over what was logged last.
std::optional<double> seconds_a_step(const Table& logs) {
  const auto steps = logs.steps();
  const auto times = logs.times();
  if (logs.rows() < 2 || times.back() <= 0) {
    return std::nullopt;
  }
  constexpr size_t kRows = 50;
  const size_t from = logs.rows() > kRows ? logs.rows() - kRows : 0;
  const double done = steps.back() - steps[from];
  const double seconds = times.back() - times[from];
  return done > 0 && seconds > 0 ? std::optional(seconds / done) : std::nullopt;
}

std::optional<double> sum_over_devices(const RunHistory& run, std::string_view column) {
  std::optional<double> sum;
  for (const auto& [index, table] : run.devices()) {
    if (const auto value = index >= 0 ? newest(table, column) : std::nullopt) {
      sum = sum.value_or(0) + *value;
    }
  }
  return sum;
}

std::string status_of(const RunHistory& run, double now) {
  if (!run.end().is_null()) {
    return text_at(run.end(), "status");
  }
  if (run.about().empty()) {  // another program's folder: nothing says how it goes
    return !run.finish().is_null() || run.last_step() >= run.total_steps().value_or(INT64_MAX)
               ? "done"
               : "stopped";
  }
  // A step, an evaluation or a save may take a while.
  const double patience = std::max(120.0, 20 * seconds_a_step(run.logs()).value_or(0));
  return now - run.last_time() > patience ? "silent" : "running";
}

void follow_evaluations(const RunHistory& run, RunFacts& facts) {
  const auto values = run.evals().column("eval_loss");
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      continue;
    }
    facts.last_eval = values[i];
    if (!facts.best_eval || values[i] < *facts.best_eval) {
      facts.best_eval = values[i];
      facts.best_step = static_cast<int64_t>(run.evals().steps()[i]);
      facts.evals_since_best = 0;
    } else {
      ++facts.evals_since_best;
    }
  }
}

}  // namespace

std::optional<double> energy(const RunHistory& run) {
  constexpr double kGap = 120;  // nothing was measured in longer ones
  std::optional<double> joules;
  for (const auto& [index, table] : run.devices()) {
    const auto power = table.column("power_w");
    const auto times = table.times();
    for (size_t i = 1; i < power.size(); ++i) {
      const double seconds = times[i] - times[i - 1];
      if (seconds > 0 && seconds < kGap && std::isfinite(power[i]) && std::isfinite(power[i - 1])) {
        joules = joules.value_or(0) + seconds * (power[i] + power[i - 1]) / 2;
      }
    }
  }
  return joules ? std::optional(*joules / 3.6e6) : std::nullopt;
}

RunFacts facts_of(const RunHistory& run, double now, std::optional<double> price) {
  RunFacts f;
  f.status = status_of(run, now);
  f.why = text_at(run.end(), "text");
  f.step = run.last_step();
  f.total = run.total_steps();
  f.loss = newest(run.logs(), "loss");
  f.tokens_per_s = newest(run.logs(), "tokens_per_s");
  f.mfu = newest(run.logs(), "mfu");
  f.step_s = newest(run.logs(), "step_s");
  const bool going = f.status == "running";
  f.elapsed_s = std::max(0.0, (going ? now : run.last_time()) - run.begun());
  if (run.about().empty()) {
    f.elapsed_s = number_at(run.finish(), "train_runtime").value_or(0);
  }
  const auto pace = seconds_a_step(run.logs());
  if (going && f.total && pace) {
    f.left_s = std::max(0.0, static_cast<double>(*f.total - f.step) * *pace);
  }
  f.memory = sum_over_devices(run, "mem_used");
  f.memory_total = sum_over_devices(run, "mem_total");
  f.power = sum_over_devices(run, "power_w");
  f.power_limit = sum_over_devices(run, "power_limit_w");
  for (const auto& [index, table] : run.devices()) {
    if (const auto value = index >= 0 ? newest(table, "temp_c") : std::nullopt) {
      f.temperature = std::max(f.temperature.value_or(*value), *value);
    }
  }
  f.kwh = energy(run);
  if (f.power && f.left_s) {
    f.kwh_left = *f.power * *f.left_s / 3.6e6;
  }
  if (price) {
    f.cost = *price * f.elapsed_s / 3600;
    if (f.left_s) {
      f.cost_left = *price * *f.left_s / 3600;
    }
  }
  follow_evaluations(run, f);
  return f;
}

TimeSplit time_split(const RunHistory& run, size_t rows) {
  TimeSplit split;
  split.activities = {{"fwd_bwd_s", "forward and backward"},
                      {"opt_s", "optimizer"},
                      {"comm_s", "waiting for other ranks"},
                      {"data_s", "data"},
                      {"copy_s", "copies to the device"},
                      {"eval_s", "evaluation"},
                      {"save_s", "saving"},
                      {"host_s", "the rest"}};
  const Table& table = run.times();
  const size_t from = rows > 0 && table.rows() > rows ? table.rows() - rows : 0;
  const auto sum = [&](std::string_view column) {
    double total = 0;
    const auto values = table.column(column);
    for (size_t i = from; i < values.size(); ++i) {
      total += std::isfinite(values[i]) ? values[i] : 0;
    }
    return total;
  };
  for (Activity& activity : split.activities) {
    activity.seconds = sum(activity.key);
    split.seconds += activity.seconds;
  }
  split.steps = sum("steps");
  return split;
}

std::optional<Spread> spread_of(const Table& table, std::string_view column) {
  const auto values = table.column(column);
  const auto steps = table.steps();
  std::vector<double> finite;
  Spread s;
  for (size_t i = 0; i < values.size(); ++i) {
    const double v = values[i];
    if (!std::isfinite(v)) {
      continue;
    }
    if (finite.empty() || v < s.low) {
      s.low = v;
      s.low_step = steps[i];
    }
    if (finite.empty() || v > s.high) {
      s.high = v;
      s.high_step = steps[i];
    }
    finite.push_back(v);
  }
  if (finite.empty()) {
    return std::nullopt;
  }
  s.count = finite.size();
  const size_t tenth = std::max<size_t>(1, finite.size() / 10);
  const auto mean = [&](size_t begin) {
    double sum = 0;
    for (size_t i = begin; i < begin + tenth; ++i) {
      sum += finite[i];
    }
    return sum / static_cast<double>(tenth);
  };
  s.first = mean(0);
  s.last = mean(finite.size() - tenth);
  const auto middle = finite.begin() + static_cast<ptrdiff_t>(finite.size() / 2);
  std::ranges::nth_element(finite, middle);
  s.median = *middle;
  return s;
}

}  // namespace sft
