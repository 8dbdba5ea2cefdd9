#include "cli/run_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/json.h"
#include "core/strings.h"
#include "report/charts/text.h"
#include "report/history/run_history.h"

namespace sft {

namespace {

constexpr int kWide = 100;          // from here on there is room for the curve
constexpr size_t kCurve = 20;       // characters
constexpr size_t kMostKept = 4096;  // losses; then every second one goes

std::string number(const Json& line, const char* key) {
  const auto value = number_at(line, key);
  return value ? short_number(*value) : line.contains(key) ? "not finite" : "";
}

}  // namespace

std::string run_line(const Json& line, int64_t total, int width) {
  const std::string kind = text_at(line, "k");
  std::vector<std::string> parts;
  const auto add = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) {
      parts.push_back(fmt::format("{} {}", name, value));
    }
  };
  const auto step = static_cast<int64_t>(number_at(line, "step").value_or(0));
  if (kind == "log") {
    parts.push_back(total > 0 ? fmt::format("step {}/{}", step, total)
                              : fmt::format("step {}", step));
    add("loss", number(line, "loss"));
    add("grad", number(line, "grad_norm"));
    add("lr", number(line, "learning_rate"));
    if (const auto speed = number_at(line, "tokens_per_s")) {
      parts.push_back(compact_number(*speed) + " tok/s");
    }
    add("acc", number(line, "mean_token_accuracy"));
    add("epoch", number(line, "epoch"));
    add("entropy", number(line, "entropy"));
  } else if (kind == "eval") {
    parts.push_back(fmt::format("step {}", step));
    add("eval loss", number(line, "eval_loss"));
    add("acc", number(line, "eval_mean_token_accuracy"));
    add("exact match", number(line, "eval_exact_match"));
    add("ROUGE-L", number(line, "eval_rouge_l"));
    add("in", human_seconds(number_at(line, "eval_runtime").value_or(0)));
  } else if (kind == "finish") {
    parts.push_back(fmt::format("{} steps in {}", step,
                                human_seconds(number_at(line, "train_runtime").value_or(0))));
    add("mean loss", number(line, "train_loss"));
    add("samples/s", number(line, "train_samples_per_second"));
    add("epoch", number(line, "epoch"));
  }
  std::string out;
  for (const std::string& part : parts) {
    const size_t room = static_cast<size_t>(std::max(width - 1, 20));
    if (out.size() + (out.empty() ? 0 : 2) + part.size() > room) {
      break;
    }
    out += (out.empty() ? "" : "  ") + part;
  }
  return out;
}

std::string block_curve(const std::vector<double>& values, size_t cells, bool utf8) {
  std::vector<double> finite;
  std::ranges::copy_if(values, std::back_inserter(finite),
                       [](double v) { return std::isfinite(v); });
  if (finite.size() < 2) {
    return "";
  }
  const size_t shown = std::min(cells, finite.size());
  std::vector<double> means;
  for (size_t i = 0; i < shown; ++i) {
    const size_t from = i * finite.size() / shown, to = (i + 1) * finite.size() / shown;
    double sum = 0;
    for (size_t k = from; k < to; ++k) {
      sum += finite[k];
    }
    means.push_back(sum / static_cast<double>(to - from));
  }
  const auto [low, high] = std::ranges::minmax(means);
  constexpr const char* kBlocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  constexpr const char* kPlain[] = {"_", ".", ",", "-", "~", "=", "^", "\""};
  std::string out;
  for (const double mean : means) {
    const double share = high > low ? (mean - low) / (high - low) : 0;
    const auto level = static_cast<size_t>(std::clamp(share * 7.999, 0.0, 7.0));
    out += utf8 ? kBlocks[level] : kPlain[level];
  }
  return out;
}

RunView::RunView(Terminal& terminal, bool bar) : terminal_(terminal), bar_(bar) {}

RunView::~RunView() { terminal_.set_progress(""); }

void RunView::stage(std::string_view what) {
  if (bar_ && !steps_) {
    terminal_.set_progress(
        fmt::format("{} ...", what)
            .substr(0, static_cast<size_t>(std::max(10, terminal_.settings().width - 1))));
  }
}

void RunView::line(const Json& line) {
  const std::string kind = text_at(line, "k");
  if (kind == "dev") {
    return;  // of another thread
  }
  if (kind == "run") {
    total_ = static_cast<int64_t>(number_at(line, "total_steps").value_or(0));
  } else if (kind == "log") {
    if (losses_.size() == kMostKept) {
      for (size_t i = 0; i < losses_.size() / 2; ++i) {
        losses_[i] = losses_[2 * i];
      }
      losses_.resize(losses_.size() / 2);
    }
    losses_.push_back(number_at(line, "loss").value_or(NAN));
  } else if (kind == "eval") {
    const auto loss = number_at(line, "eval_loss");
    if (loss && (!evaluated_ || *loss < best_)) {
      best_ = *loss;
      best_step_ = static_cast<int64_t>(number_at(line, "step").value_or(0));
    }
    eval_ = loss.value_or(NAN);
    evaluated_ = evaluated_ || loss;
  }
  if (terminal_.settings().out_is_tty) {
    const std::string text = run_line(line, total_, terminal_.settings().width);
    if (!text.empty()) {
      terminal_.print(text);
    }
  }
}

// The newest loss, the evaluation and the best step, and where there is room the curve so far.
std::string RunView::tail(std::string_view now) const {
  std::string out(now);
  if (out.empty() && !losses_.empty()) {
    out = fmt::format("loss {:.3f}", losses_.back());
  }
  if (evaluated_) {
    out += fmt::format("  eval {:.3f} (best {:.3f} at {})", eval_, best_, best_step_);
  }
  return out;
}

void RunView::step(int64_t done, int64_t total, std::string_view now) {
  if (!bar_) {
    return;
  }
  if (!steps_) {
    terminal_.set_progress("");
    steps_ = std::make_unique<Progress>(terminal_, "steps", total, done - 1);
  }
  const TerminalSettings& s = terminal_.settings();
  steps_->update(done, tail(now),
                 s.width >= kWide && s.err_is_tty ? block_curve(losses_, kCurve, s.utf8) : "");
}

void RunView::eval_batch(int64_t done, int64_t total) {
  if (!bar_) {
    return;
  }
  if (!batches_ || done == 1) {
    batches_ = std::make_unique<Progress>(terminal_, "evaluation batches", total);
  }
  batches_->update(done);
  if (done == total) {
    batches_.reset();
  }
}

void RunView::finish() {
  if (steps_) {
    steps_->finish();
  }
}

}  // namespace sft
