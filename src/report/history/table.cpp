#include "report/history/table.h"

#include <algorithm>
#include <limits>

namespace sft {

namespace {
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
}  // namespace

std::span<const double> Table::column(std::string_view name) const {
  const auto found = std::ranges::find(columns_, name, &Column::name);
  return found == columns_.end() ? std::span<const double>() : found->values;
}

std::vector<std::string> Table::names() const {
  std::vector<std::string> out;
  for (const Column& column : columns_) {
    out.push_back(column.name);
  }
  return out;
}

void Table::begin_row(double step, double time) {
  pad();
  steps_.push_back(step);
  times_.push_back(time);
  next_ = 0;
}

void Table::set(std::string_view name, double value) {
  size_t at = next_;
  if (at >= columns_.size() || columns_[at].name != name) {
    const auto found = std::ranges::find(columns_, name, &Column::name);
    at = static_cast<size_t>(found - columns_.begin());
    if (found == columns_.end()) {
      columns_.push_back({std::string(name), std::vector<double>(rows() - 1, kNone)});
    }
  }
  std::vector<double>& values = columns_[at].values;
  if (values.size() == rows()) {  // a key that stands twice: the last one counts, as in JSON
    values.back() = value;
  } else {
    values.push_back(value);
  }
  next_ = at + 1;
}

void Table::pad() {
  for (Column& column : columns_) {
    if (column.values.size() < rows()) {
      column.values.push_back(kNone);
    }
  }
}

void Table::keep_until(double step) {
  pad();
  size_t kept = rows();
  while (kept > 0 && steps_[kept - 1] > step) {
    --kept;
  }
  steps_.resize(kept);
  times_.resize(kept);
  for (Column& column : columns_) {
    column.values.resize(kept);
  }
}

}  // namespace sft
