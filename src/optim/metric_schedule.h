// Learning rates that follow the metric of each evaluation: torch's ReduceLROnPlateau and
// transformers' GreedyLR, for one rate. Used by the trainer, and by option checking.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/saved_state.h"

namespace sft {

class MetricSchedule {
 public:
  virtual ~MetricSchedule() = default;
  // Takes the metric of one evaluation; returns the learning rate from now on.
  virtual double step(double metric) = 0;
  double learning_rate() const { return learning_rate_; }
  virtual void visit(StateTable& v) = 0;

 protected:
  explicit MetricSchedule(double learning_rate) : learning_rate_(learning_rate) {}
  bool is_better(double metric) const;

  double learning_rate_;
  bool minimise_ = true, relative_ = true;
  double threshold_ = 0.0, best_ = 0.0;
};

// The schedule of that name; null for one that is a function of the step. Errors: C101, C102.
std::unique_ptr<MetricSchedule> make_metric_schedule(const std::string& name, double learning_rate,
                                                     const Json& kwargs);

// reduce_lr_on_plateau.
class PlateauState : public MetricSchedule {
 public:
  // `learning_rate` is the rate it starts from.
  PlateauState(double learning_rate, const Json& kwargs);
  double step(double metric) override;
  void visit(StateTable& v) override;

 private:
  double factor_ = 0.1, min_lr_ = 0.0, eps_ = 1e-8;
  int64_t patience_ = 10, cooldown_ = 0;
  int64_t bad_evaluations_ = 0, cooldown_left_ = 0;
};

// greedy: the rate grows while the metric improves and shrinks while it does not; what stays at the
// lowest rate for long begins anew.
class GreedyState : public MetricSchedule {
 public:
  GreedyState(double learning_rate, const Json& kwargs);
  double step(double metric) override;
  void visit(StateTable& v) override;

 private:
  double smoothed(double metric);
  void lower();
  void raise();
  void begin_anew();
  double worst() const;

  const double first_rate_;
  double factor_ = 0.95, min_lr_ = 1e-3, max_lr_ = 1.0, eps_ = 1e-8;
  int64_t patience_ = 10, cooldown_ = 0, warmup_ = 0, window_ = 50, reset_after_ = 500;
  bool smooth_ = false;
  int64_t bad_ = 0, good_ = 0, cooldown_left_ = 0, warmup_left_ = 0, reset_left_ = 0;
  std::vector<double> last_;  // metrics of the window
  double sum_ = 0.0;          // of them
};

}  // namespace sft
