// How answers to a task are scored, as lm-evaluation-harness does it. Used by run/tasks/run_task.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "run/likelihood.h"
#include "run/tasks/task_docs.h"

namespace sft {

// A metric's value of each row: a number that is averaged; for perplexity a log-likelihood.
double choice_score(const std::string& metric, const TaskDoc& doc,
                    std::span<const Likelihood> choices);
// 1 where the answer is one of the targets.
double exact_match(const TaskMetric& metric, const std::string& answer,
                   const std::vector<std::string>& targets);
// What the filters make of an answer. C240 for a regular expression that cannot be compiled.
std::string filtered(const TaskFilters& filters, std::string answer);

struct Score {
  double value = 0;
  std::optional<double> error{};  // standard, of a mean of more than one value
};
// The mean of the rows' values, with the standard error of a sample; of perplexity exp(-mean).
Score aggregate(const std::string& metric, std::span<const double> values);

}  // namespace sft
