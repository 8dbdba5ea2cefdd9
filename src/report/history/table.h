// Rows of numbers by column, as the log lines of a run are: a step, a time, and named values. Used
// by RunHistory and everything that draws.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sft {

// A value that a row lacks, or that is not finite, is NaN.
class Table {
 public:
  size_t rows() const { return steps_.size(); }
  bool empty() const { return steps_.empty(); }
  // In the order in which they were logged; steps do not fall.
  std::span<const double> steps() const { return steps_; }
  std::span<const double> times() const { return times_; }  // unix seconds
  // Empty where no row has it; otherwise as long as `steps`.
  std::span<const double> column(std::string_view name) const;
  std::vector<std::string> names() const;

  void begin_row(double step, double time);
  void set(std::string_view name, double value);  // in the row that was begun last
  // Every column has a value for every row now.
  void pad();
  // Drops the rows of later steps.
  void keep_until(double step);

 private:
  struct Column {
    std::string name;
    std::vector<double> values;
  };
  std::vector<double> steps_, times_;
  std::vector<Column> columns_;
  size_t next_ = 0;  // the column that is likely to be set next: lines have one order
};

}  // namespace sft
