#include "core/budget.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/strings.h"

namespace sft {

Budget::Budget(Code code, std::string_view subject, const BudgetLimits& limits,
               std::string_view hint)
    : code_(code),
      subject_(subject),
      hint_(hint),
      limits_(limits),
      steps_left_(limits.steps),
      bytes_left_(limits.bytes),
      depth_left_(limits.depth) {
  if (limits_.time != std::chrono::milliseconds::max()) {
    begun_ = std::chrono::steady_clock::now();
  }
}

void Budget::check_time() const {
  if (limits_.time != std::chrono::milliseconds::max() &&
      std::chrono::steady_clock::now() - begun_ > limits_.time) {
    const double seconds = std::chrono::duration<double>(limits_.time).count();
    fail("takes longer than", human_seconds(seconds));
  }
}

void Budget::fail(std::string_view needs, std::string limit) const {
  Error error(code_, fmt::format("{} {} {}", subject_, needs, limit));
  throw hint_.empty() ? error : error.hint(std::string(hint_));
}

void Budget::fail_steps() const {
  fail("needs more than", fmt::format("{} steps", with_commas(limits_.steps)));
}

void Budget::fail_bytes() const {
  fail("needs more memory than", human_bytes(static_cast<double>(limits_.bytes)));
}

void Budget::fail_depth() const {
  fail("nests deeper than", fmt::format("{} levels", limits_.depth));
}

void BoundedText::repeat(int64_t n, std::string_view unit) {
  if (n <= 0 || unit.empty()) {
    return;
  }
  budget_->room(n, static_cast<int64_t>(unit.size()));
  reserve(static_cast<size_t>(n) * unit.size());
  if (unit.size() == 1) {
    text_.append(static_cast<size_t>(n), unit[0]);
    return;
  }
  budget_->step(n);
  for (int64_t i = 0; i < n; ++i) {
    text_ += unit;
  }
}

void BoundedText::grow(size_t more) {
  if (more > static_cast<size_t>(BudgetLimits::kNone / 4)) {
    budget_->room(BudgetLimits::kNone);
  }
  const size_t wanted = std::max(text_.size() + more, 2 * text_.capacity());
  // The old text is still there while the new one is filled; near the limit it grows by less.
  const auto left = static_cast<size_t>(std::max<int64_t>(0, budget_->bytes_left()));
  const size_t size = wanted <= left ? wanted : std::max(text_.size() + more, left / 2);
  Held held(*budget_, static_cast<int64_t>(size));
  budget_->copy(text_.size() + more);
  text_.reserve(size);
  held_ = std::move(held);
}

}  // namespace sft
