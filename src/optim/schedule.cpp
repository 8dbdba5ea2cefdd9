#include "optim/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "core/strings.h"
#include "optim/metric_schedule.h"
#include "optim/schedule_arguments.h"

namespace sft {
namespace {

struct Steps {
  double warmup, total;
  explicit Steps(const ScheduleInput& in)
      : warmup(static_cast<double>(in.warmup_steps)), total(static_cast<double>(in.total_steps)) {}
  double rising(double step) const { return step / std::max(1.0, warmup); }
  // 0 at the end of warmup, 1 at the end of the run.
  double progress(double step) const { return (step - warmup) / std::max(1.0, total - warmup); }
};

double wave(double cycles, double progress) {
  return 0.5 * (1.0 + std::cos(std::numbers::pi * cycles * 2.0 * progress));
}

Schedule linear(const ScheduleInput& in, ScheduleArguments&) {
  return [s = Steps(in)](int64_t step) {
    const auto at = static_cast<double>(step);
    return at < s.warmup ? s.rising(at)
                         : std::max(0.0, (s.total - at) / std::max(1.0, s.total - s.warmup));
  };
}

Schedule cosine(const ScheduleInput& in, ScheduleArguments& kwargs) {
  const double cycles = kwargs.number("num_cycles", 0.5);
  return [s = Steps(in), cycles](int64_t step) {
    const auto at = static_cast<double>(step);
    return at < s.warmup ? s.rising(at) : std::max(0.0, wave(cycles, s.progress(at)));
  };
}

Schedule cosine_with_restarts(const ScheduleInput& in, ScheduleArguments& kwargs) {
  const double cycles = kwargs.number("num_cycles", 1.0);
  return [s = Steps(in), cycles](int64_t step) {
    const auto at = static_cast<double>(step);
    if (at < s.warmup) {
      return s.rising(at);
    }
    const double progress = s.progress(at);
    if (progress >= 1.0) {
      return 0.0;
    }
    const double turn = std::fmod(cycles * progress, 1.0);
    return std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * turn)));
  };
}

Schedule polynomial(const ScheduleInput& in, ScheduleArguments& kwargs) {
  const double end = kwargs.number("lr_end", 1e-7);
  const double power = kwargs.number("power", 1.0);
  const double begin = in.learning_rate;
  if (begin <= end) {
    throw Error("C102", fmt::format("lr_scheduler_kwargs: lr_end of polynomial is {}, it must be "
                                    "below the learning rate {}",
                                    end, begin));
  }
  return [s = Steps(in), begin, end, power](int64_t step) {
    const auto at = static_cast<double>(step);
    if (at < s.warmup) {
      return s.rising(at);
    }
    if (at > s.total) {
      return end / begin;
    }
    const double left = 1.0 - (at - s.warmup) / std::max(1.0, s.total - s.warmup);
    return ((begin - end) * std::pow(left, power) + end) / begin;
  };
}

Schedule constant(const ScheduleInput&, ScheduleArguments&) {
  return [](int64_t) { return 1.0; };
}

Schedule constant_with_warmup(const ScheduleInput& in, ScheduleArguments&) {
  return [s = Steps(in)](int64_t step) {
    const auto at = static_cast<double>(step);
    return at < s.warmup ? s.rising(at) : 1.0;
  };
}

Schedule inverse_sqrt(const ScheduleInput& in, ScheduleArguments& kwargs) {
  const int64_t fallback = in.warmup_steps > 0 ? in.warmup_steps : 10000;
  const auto scale = static_cast<double>(kwargs.whole("timescale", fallback));
  if (scale <= 0) {
    kwargs.wrong("timescale", "above 0");
  }
  return [s = Steps(in), scale](int64_t step) {
    const auto at = static_cast<double>(step);
    return at < s.warmup ? s.rising(at) : 1.0 / std::sqrt((at + (scale - s.warmup)) / scale);
  };
}

double minimum_share(const ScheduleInput& in, ScheduleArguments& kwargs) {
  const bool absolute = kwargs.has("min_lr");
  const bool relative = kwargs.has("min_lr_rate");
  if (absolute && relative) {
    throw Error("C102", "lr_scheduler_kwargs: min_lr and min_lr_rate exclude each other");
  }
  if (!absolute && !relative) {
    kwargs.missing("min_lr or min_lr_rate", R"({"min_lr_rate": 0.1})");
  }
  return relative ? kwargs.number("min_lr_rate", 0.0)
                  : kwargs.number("min_lr", 0.0) / in.learning_rate;
}

Schedule cosine_with_min_lr(const ScheduleInput& in, ScheduleArguments& kwargs) {
  const double low = minimum_share(in, kwargs);
  const double cycles = kwargs.number("num_cycles", 0.5);
  return [s = Steps(in), low, cycles](int64_t step) {
    const auto at = static_cast<double>(step);
    if (at < s.warmup) {
      return s.rising(at);
    }
    return std::max(0.0, wave(cycles, s.progress(at)) * (1.0 - low) + low);
  };
}

// Counts steps from 1, so that neither the first nor the last has the rate 0.
Schedule cosine_warmup_with_min_lr(const ScheduleInput& in, ScheduleArguments& kwargs) {
  const double low = minimum_share(in, kwargs);
  const double cycles = kwargs.number("num_cycles", 0.5);
  const bool given = kwargs.has("warmup_lr_rate");
  const double start = kwargs.number("warmup_lr_rate", 0.0);
  return [s = Steps(in), low, cycles, given, start](int64_t step) {
    const auto at = static_cast<double>(step);
    if (at < s.warmup) {
      return given ? start + (1.0 - start) * at / std::max(1.0, s.warmup - 1.0)
                   : (at + 1.0) / std::max(1.0, s.warmup);
    }
    return std::max(0.0, wave(cycles, s.progress(at + 1.0)) * (1.0 - low) + low);
  };
}

Schedule warmup_stable_decay(const ScheduleInput& in, ScheduleArguments& kwargs) {
  const std::string rise = kwargs.word("warmup_type", {"linear", "cosine", "1-sqrt"});
  const std::string fall = kwargs.word("decay_type", {"cosine", "linear", "1-sqrt"});
  const double low = kwargs.number("min_lr_ratio", 0.0);
  const double cycles = kwargs.number("num_cycles", 0.5);
  if (!kwargs.has("num_decay_steps")) {
    kwargs.missing("num_decay_steps", R"({"num_decay_steps": 100})");
  }
  const auto decay = static_cast<double>(kwargs.whole("num_decay_steps", 0));
  const Steps s(in);
  const bool fixed = kwargs.has("num_stable_steps");
  const double stable =
      fixed ? static_cast<double>(kwargs.whole("num_stable_steps", 0)) : s.total - s.warmup - decay;
  return [=](int64_t step) {
    const auto at = static_cast<double>(step);
    double share = 0.0;
    if (at < s.warmup) {
      const double p = s.rising(at);
      share = rise == "linear"   ? p
              : rise == "cosine" ? 0.5 * (1.0 - std::cos(std::numbers::pi * p))
                                 : 1.0 - std::sqrt(1.0 - p);
    } else if (at < s.warmup + stable) {
      return 1.0;
    } else if (at < s.warmup + stable + decay) {
      const double p = (at - s.warmup - stable) / std::max(1.0, decay);
      share = fall == "linear" ? 1.0 - p : fall == "cosine" ? wave(cycles, p) : 1.0 - std::sqrt(p);
    } else {
      return low;
    }
    return std::max(0.0, share * (1.0 - low) + low);
  };
}

// The rate is the trainer's: it follows the evaluation.
template <class State>
Schedule by_metric(const ScheduleInput& in, ScheduleArguments& kwargs) {
  State(in.learning_rate, in.kwargs);  // checks the arguments
  for (const auto& item : in.kwargs.items()) {
    kwargs.has(item.key());
  }
  return constant(in, kwargs);
}

// DeepSpeed steps its schedule after the optimizer, so the second step still has its iteration 0.
struct DeepSpeedWarmup {
  double steps, total;
  bool logarithmic;

  DeepSpeedWarmup(const ScheduleInput& in, ScheduleArguments& kwargs) {
    const int64_t given = kwargs.whole("warmup_num_steps", std::max<int64_t>(in.warmup_steps, 1));
    if (given < 1) {
      kwargs.wrong("warmup_num_steps", "at least 1");
    }
    steps = static_cast<double>(std::max<int64_t>(given, 2));
    logarithmic = kwargs.word("warmup_type", {"log", "linear"}) == "log";
    total = static_cast<double>(in.total_steps);
  }
  double rising(double at) const {
    return logarithmic ? std::log(at + 1.0) / std::log(steps) : at / steps;
  }
};

// From warmup_min_lr to the peak, and then constant, or down to warmup_min_lr when `falls`.
Schedule deepspeed_line(const ScheduleInput& in, ScheduleArguments& kwargs, bool falls) {
  const double low = in.learning_rate > 0.0 ? kwargs.number("warmup_min_lr", 0.0) / in.learning_rate
                                            : kwargs.number("warmup_min_lr", 0.0);
  DeepSpeedWarmup w(in, kwargs);
  if (falls) {
    w.total = static_cast<double>(kwargs.whole("total_num_steps", in.total_steps));
  }
  return [=](int64_t step) {
    const double at = static_cast<double>(step) - 1.0;
    if (at < 0.0) {
      return low;
    }
    double share = 1.0;
    if (at < w.steps) {
      share = w.rising(at);
    } else if (falls) {
      share = std::max(0.0, (w.total - at) / std::max(1.0, w.total - w.steps));
    }
    return low + (1.0 - low) * share;
  };
}

Schedule deepspeed_warmup(const ScheduleInput& in, ScheduleArguments& kwargs) {
  return deepspeed_line(in, kwargs, false);
}

Schedule deepspeed_warmup_decay(const ScheduleInput& in, ScheduleArguments& kwargs) {
  return deepspeed_line(in, kwargs, true);
}

Schedule deepspeed_warmup_cosine(const ScheduleInput& in, ScheduleArguments& kwargs) {
  const double start = kwargs.number("warmup_min_ratio", 0.0);
  const double low = kwargs.number("cos_min_ratio", 0.0001);
  DeepSpeedWarmup w(in, kwargs);
  w.total = static_cast<double>(kwargs.whole("total_num_steps", in.total_steps));
  return [=](int64_t step) {
    const double at = static_cast<double>(step) - 1.0;
    if (at < 0.0) {
      return 0.0;
    }
    if (at < w.steps) {
      return start + (1.0 - start) * w.rising(at);
    }
    const double done = std::min(1.0, (at - w.steps + 1.0) / std::max(1.0, w.total - w.steps));
    return std::max(0.0, low + (1.0 - low) * wave(0.5, done));
  };
}

struct ScheduleEntry {
  const char* name;
  Schedule (*make)(const ScheduleInput&, ScheduleArguments&);
};

constexpr ScheduleEntry kSchedules[] = {
    {"linear", linear},
    {"cosine", cosine},
    {"cosine_with_restarts", cosine_with_restarts},
    {"polynomial", polynomial},
    {"constant", constant},
    {"constant_with_warmup", constant_with_warmup},
    {"inverse_sqrt", inverse_sqrt},
    {"reduce_lr_on_plateau", by_metric<PlateauState>},
    {"greedy", by_metric<GreedyState>},
    {"cosine_with_min_lr", cosine_with_min_lr},
    {"cosine_warmup_with_min_lr", cosine_warmup_with_min_lr},
    {"warmup_stable_decay", warmup_stable_decay},
    {"deepspeed_warmup", deepspeed_warmup},
    {"deepspeed_warmup_decay", deepspeed_warmup_decay},
    {"deepspeed_warmup_cosine", deepspeed_warmup_cosine},
};

}  // namespace

std::vector<std::string> schedule_names() {
  std::vector<std::string> names;
  for (const ScheduleEntry& entry : kSchedules) {
    names.emplace_back(entry.name);
  }
  return names;
}

Schedule make_schedule(const std::string& name, const ScheduleInput& input) {
  for (const ScheduleEntry& entry : kSchedules) {
    if (name == entry.name) {
      ScheduleArguments kwargs(name, input.kwargs);
      Schedule schedule = entry.make(input, kwargs);
      kwargs.finish();
      return schedule;
    }
  }
  Error error("C100", fmt::format("there is no learning-rate schedule \"{}\"", name));
  const std::string near = nearest(name, schedule_names());
  throw near.empty() ? error : error.hint(fmt::format("did you mean  {}?", near));
}

int64_t warmup_step_count(double steps, double ratio, int64_t total_steps) {
  if (steps >= 1.0) {
    return static_cast<int64_t>(steps);
  }
  const double share = steps > 0.0 ? steps : ratio;
  return static_cast<int64_t>(std::ceil(static_cast<double>(total_steps) * share));
}

}  // namespace sft
