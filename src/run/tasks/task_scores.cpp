#include "run/tasks/task_scores.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/strings.h"
#include "jinja/text.h"
#include "text/find_all.h"

namespace sft {

namespace {

size_t characters(const std::string& text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

// The first of the largest, as numpy has it.
size_t largest(std::span<const Likelihood> choices, const std::vector<double>& lengths) {
  size_t best = 0;
  for (size_t i = 1; i < choices.size(); ++i) {
    best = choices[i].log / lengths[i] > choices[best].log / lengths[best] ? i : best;
  }
  return best;
}

std::string replaced(const std::string& text, bool (*dropped)(char)) {
  std::string out = text;
  std::erase_if(out, dropped);
  return out;
}

bool is_punctuation(char c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
         (c >= '{' && c <= '~');
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string reduced(const TaskMetric& metric, std::string text) {
  for (const std::string& expression : metric.regexes_to_ignore) {
    text = without_matches(text, expression);
  }
  text = metric.ignore_case ? jinja::lower(text) : text;
  text = metric.ignore_punctuation ? replaced(text, is_punctuation) : text;
  return metric.ignore_numbers ? replaced(text, is_digit) : text;
}

// As `re.findall` gives them: the match, or of its groups the first that is not empty.
std::string first_found(const TaskFilter& filter, const std::string& answer) {
  const auto found = find_all(answer, filter.pattern);
  const auto count = static_cast<int64_t>(found.size());
  const int64_t at = filter.group_select < 0 ? count + filter.group_select : filter.group_select;
  const auto* const chosen = at >= 0 && at < count ? &found[static_cast<size_t>(at)] : nullptr;
  return std::string(trim(chosen != nullptr && *chosen ? **chosen : filter.fallback));
}

}  // namespace

double choice_score(const std::string& metric, const TaskDoc& doc,
                    std::span<const Likelihood> choices) {
  const auto is_gold = [&](size_t choice) {
    return std::ranges::find(doc.gold, static_cast<int64_t>(choice)) != doc.gold.end();
  };
  if (metric == "exact_match") {
    for (size_t i = 0; i < choices.size(); ++i) {
      if (choices[i].greedy && is_gold(i)) {
        return 1.0;
      }
    }
    return 0.0;
  }
  std::vector<double> lengths(choices.size(), 1.0);
  for (size_t i = 0; i < choices.size() && metric != "acc"; ++i) {
    lengths[i] = static_cast<double>(metric == "acc_norm" ? characters(doc.choices[i])
                                                          : doc.choices[i].size());
  }
  return is_gold(largest(choices, lengths)) ? 1.0 : 0.0;
}

double exact_match(const TaskMetric& metric, const std::string& answer,
                   const std::vector<std::string>& targets) {
  const std::string own = reduced(metric, answer);
  return std::ranges::any_of(targets,
                             [&](const std::string& t) { return reduced(metric, t) == own; })
             ? 1.0
             : 0.0;
}

std::string filtered(const TaskFilters& filters, std::string answer) {
  for (const TaskFilter& filter : filters.filters) {
    if (filter.function == "regex") {
      answer = first_found(filter, answer);
    } else if (filter.function == "lowercase") {
      answer = jinja::lower(answer);
    } else if (filter.function == "uppercase") {
      answer = jinja::upper(answer);
    } else if (filter.function == "remove_whitespace") {
      answer = trim(answer);
    }  // take_first: there is one
  }
  return answer;
}

Score aggregate(const std::string& metric, std::span<const double> values) {
  const auto n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  if (metric == "perplexity") {
    return {std::exp(-mean)};
  }
  if (values.size() < 2) {
    return {mean};
  }
  double squares = 0;
  for (const double value : values) {
    squares += (value - mean) * (value - mean);
  }
  return {mean, std::sqrt(squares / (n - 1) / n)};
}

}  // namespace sft
