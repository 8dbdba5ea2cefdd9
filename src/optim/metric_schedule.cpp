#include "optim/metric_schedule.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "optim/schedule_arguments.h"

namespace sft {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace

std::unique_ptr<MetricSchedule> make_metric_schedule(const std::string& name, double learning_rate,
                                                     const Json& kwargs) {
  if (name == "reduce_lr_on_plateau") {
    return std::make_unique<PlateauState>(learning_rate, kwargs);
  }
  if (name == "greedy") {
    return std::make_unique<GreedyState>(learning_rate, kwargs);
  }
  return nullptr;
}

PlateauState::PlateauState(double learning_rate, const Json& values)
    : MetricSchedule(learning_rate) {
  ScheduleArguments kwargs("reduce_lr_on_plateau", values);
  minimise_ = kwargs.word("mode", {"min", "max"}) == "min";
  relative_ = kwargs.word("threshold_mode", {"rel", "abs"}) == "rel";
  factor_ = kwargs.number("factor", factor_);
  patience_ = kwargs.whole("patience", patience_);
  threshold_ = kwargs.number("threshold", 1e-4);
  cooldown_ = kwargs.whole("cooldown", cooldown_);
  min_lr_ = kwargs.number("min_lr", min_lr_);
  eps_ = kwargs.number("eps", eps_);
  kwargs.finish();
  if (factor_ >= 1.0) {
    kwargs.wrong("factor", "below 1");
  }
  best_ = minimise_ ? kInfinity : -kInfinity;
}

bool MetricSchedule::is_better(double metric) const {
  if (minimise_) {
    return metric < (relative_ ? best_ * (1.0 - threshold_) : best_ - threshold_);
  }
  return metric > (relative_ ? best_ * (threshold_ + 1.0) : best_ + threshold_);
}

double PlateauState::step(double metric) {
  if (is_better(metric)) {
    best_ = metric;
    bad_evaluations_ = 0;
  } else {
    ++bad_evaluations_;
  }
  if (cooldown_left_ > 0) {
    --cooldown_left_;
    bad_evaluations_ = 0;
  }
  if (bad_evaluations_ > patience_) {
    const double lower = std::max(learning_rate_ * factor_, min_lr_);
    if (learning_rate_ - lower > eps_) {
      learning_rate_ = lower;
    }
    cooldown_left_ = cooldown_;
    bad_evaluations_ = 0;
  }
  return learning_rate_;
}

void PlateauState::visit(StateTable& v) {
  v("learning_rate", &learning_rate_);
  v("best", &best_).or_none();  // infinite: none yet
  v("bad_evaluations", &bad_evaluations_);
  v("cooldown_left", &cooldown_left_);
}

GreedyState::GreedyState(double learning_rate, const Json& values)
    : MetricSchedule(learning_rate), first_rate_(learning_rate) {
  ScheduleArguments kwargs("greedy", values);
  minimise_ = kwargs.word("mode", {"min", "max"}) == "min";
  relative_ = kwargs.word("threshold_mode", {"abs", "rel"}) == "rel";
  factor_ = kwargs.number("factor", factor_);
  patience_ = kwargs.whole("patience", patience_);
  threshold_ = kwargs.number("threshold", 1e-6);
  cooldown_ = kwargs.whole("cooldown", cooldown_);
  warmup_ = kwargs.whole("warmup", warmup_);
  min_lr_ = kwargs.number("min_lr", min_lr_);
  max_lr_ = kwargs.number("max_lr", max_lr_);
  eps_ = kwargs.number("eps", eps_);
  kwargs.truth("verbose", false);
  smooth_ = kwargs.truth("smooth", smooth_);
  window_ = kwargs.whole("window_size", window_);
  reset_after_ = kwargs.whole("reset_start", reset_after_);
  kwargs.finish();
  if (!(factor_ > 0.0 && factor_ < 1.0)) {
    kwargs.wrong("factor", "above 0 and below 1");
  }
  if (window_ < 1) {
    kwargs.wrong("window_size", "at least 1");
  }
  reset_left_ = reset_after_;
  best_ = worst();
}

double GreedyState::worst() const { return minimise_ ? kInfinity : -kInfinity; }

double GreedyState::smoothed(double metric) {
  last_.push_back(metric);
  sum_ += metric;
  if (static_cast<int64_t>(last_.size()) > window_) {
    sum_ -= last_.front();
    last_.erase(last_.begin());
  }
  return sum_ / static_cast<double>(last_.size());
}

double GreedyState::step(double metric) {
  const double current = smooth_ ? smoothed(metric) : metric;
  if (cooldown_left_ > 0 || warmup_left_ > 0) {
    --(cooldown_left_ > 0 ? cooldown_left_ : warmup_left_);
    bad_ = good_ = 0;
    return learning_rate_;
  }
  if (is_better(current)) {
    best_ = current;
    bad_ = 0;
    ++good_;
  } else {
    ++bad_;
    good_ = 0;
  }
  if (good_ > patience_) {
    raise();
    warmup_left_ = warmup_;
    good_ = 0;
  } else if (bad_ > patience_) {
    lower();
    cooldown_left_ = cooldown_;
    bad_ = 0;
  }
  return learning_rate_;
}

void GreedyState::lower() {
  const double rate = std::max(learning_rate_ * factor_, min_lr_);
  if (learning_rate_ - rate > eps_) {
    learning_rate_ = rate;
  }
  if (learning_rate_ <= min_lr_ && --reset_left_ <= 0) {
    begin_anew();
  }
}

void GreedyState::raise() {
  const double rate = std::min(learning_rate_ / factor_, max_lr_);
  if (rate - learning_rate_ > eps_) {
    learning_rate_ = rate;
  }
  reset_left_ = reset_after_;
}

void GreedyState::begin_anew() {
  learning_rate_ = first_rate_;
  best_ = worst();
  bad_ = good_ = cooldown_left_ = warmup_left_ = 0;
  reset_left_ = reset_after_;
  last_.clear();
  sum_ = 0.0;
}

void GreedyState::visit(StateTable& v) {
  v("learning_rate", &learning_rate_);
  v("best", &best_).or_none();  // infinite: none yet
  v("bad", &bad_);
  v("good", &good_);
  v("cooldown_left", &cooldown_left_);
  v("warmup_left", &warmup_left_);
  v("reset_left", &reset_left_);
  v("last", &last_);
  v("sum", &sum_);
}

}  // namespace sft
