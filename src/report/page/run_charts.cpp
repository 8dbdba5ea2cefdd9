#include "report/page/run_charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "core/strings.h"
#include "report/charts/text.h"
#include "report/page/run_facts.h"

namespace sft {

namespace {

double smoothing_width(const Table& table, int smoothing) {
  return std::max(1.0,
                  kSmoothings[std::clamp(smoothing, 0, 3)] * static_cast<double>(table.rows()));
}

std::string step_words(double step) { return "step " + with_commas(static_cast<long long>(step)); }

std::string loss_sentence(const RunHistory& run) {
  const auto spread = spread_of(run.logs(), "loss");
  if (!spread) {
    return "No loss was logged yet.";
  }
  std::string text;
  if (spread->count < 10) {
    text = fmt::format("Loss is {} after {}.", short_number(spread->last),
                       step_words(static_cast<double>(run.last_step())));
  } else {
    text = fmt::format("Loss {} from {} to {} (means of the first and the last tenth).",
                       spread->last < spread->first ? "fell" : "rose", short_number(spread->first),
                       short_number(spread->last));
  }
  const RunFacts facts = facts_of(run, run.last_time(), {});
  if (facts.best_eval) {
    text += fmt::format(" The best evaluation is {} at {}", short_number(*facts.best_eval),
                        step_words(static_cast<double>(facts.best_step)));
    text +=
        facts.evals_since_best == 0
            ? ", the newest."
            : fmt::format(
                  "; the {} since {} not better: that checkpoint is the one to keep.",
                  facts.evals_since_best == 1 ? "one" : fmt::format("{}", facts.evals_since_best),
                  facts.evals_since_best == 1 ? "is" : "are");
  }
  const size_t bad = run.not_finite().size();
  const auto spikes = std::ranges::count(run.events(), "spike", &RunEvent::kind);
  if (spikes > 0) {
    text += fmt::format(" {} spike{}.", spikes, spikes == 1 ? "" : "s");
  }
  if (bad > 0) {
    text += fmt::format(" {} value{} not finite.", bad, bad == 1 ? " was" : "s were");
  }
  return text;
}

std::string gradient_sentence(const RunHistory& run, std::optional<double> clip) {
  const auto spread = spread_of(run.logs(), "grad_norm");
  if (!spread) {
    return "";
  }
  std::string text = fmt::format("Median {}, largest {} at {}.", short_number(spread->median, 3),
                                 short_number(spread->high, 3), step_words(spread->high_step));
  if (clip && *clip > 0) {
    size_t above = 0, all = 0;
    for (const double value : run.logs().column("grad_norm")) {
      all += std::isfinite(value) ? 1 : 0;
      above += value > *clip ? 1 : 0;
    }
    text += fmt::format(" Clipped to {} in {:.0f} % of the steps that were logged.",
                        short_number(*clip),
                        100.0 * static_cast<double>(above) / static_cast<double>(all));
  }
  return text;
}

std::string spread_sentence(const Table& table, std::string_view column, const char* unit,
                            bool slow_is_low) {
  const auto spread = spread_of(table, column);
  if (!spread) {
    return "";
  }
  return fmt::format("Median {} {}; slowest {} at {}.", compact_number(spread->median), unit,
                     compact_number(slow_is_low ? spread->low : spread->high),
                     step_words(slow_is_low ? spread->low_step : spread->high_step));
}

std::string rate_sentence(const RunHistory& run) {
  const auto spread = spread_of(run.logs(), "learning_rate");
  return !spread ? ""
                 : fmt::format("Highest {} at {}; {} at the end of what is drawn.",
                               short_number(spread->high), step_words(spread->high_step),
                               short_number(run.logs().column("learning_rate").back()));
}

std::string last_and_best(const Table& table, std::string_view column) {
  const auto spread = spread_of(table, column);
  return !spread ? ""
                 : fmt::format("Highest {} at {}; lowest {} at {}.", short_number(spread->high),
                               step_words(spread->high_step), short_number(spread->low),
                               step_words(spread->low_step));
}

// "12 % of the time" and the like come from the histories' own lines; with several runs each
// sentence is preceded by the run's name.
std::string for_all(std::span<const ShownRun> runs,
                    const std::function<std::string(const RunHistory&)>& sentence) {
  std::string text;
  for (const ShownRun& run : runs) {
    const std::string own = sentence(*run.history);
    if (!own.empty()) {
      text += (text.empty() ? "" : " ") + (runs.size() > 1 ? run.name + ": " : "") + own;
    }
  }
  return text;
}

PointSeries points(const Table& table, std::string_view column) {
  return {table.steps(), table.column(column), {}, {}};
}

std::string named(std::span<const ShownRun> runs, size_t i, const std::string& name) {
  return runs.size() == 1 ? name : name.empty() ? runs[i].name : runs[i].name + " " + name;
}

ChartSpec one_column(std::span<const ShownRun> runs, const char* id, const char* title,
                     const char* column, int smoothing, bool from_zero = false) {
  ChartSpec spec;
  spec.id = id;
  spec.title = title;
  spec.from_zero = from_zero;
  for (size_t i = 0; i < runs.size(); ++i) {
    const Table& logs = runs[i].history->logs();
    if (!logs.column(column).empty()) {
      ChartLine line{named(runs, i, runs.size() == 1 ? title : ""), points(logs, column),
                     static_cast<int>(i % 8)};
      line.smoothing = smoothing_width(logs, smoothing);
      spec.lines.push_back(std::move(line));
    }
  }
  return spec;
}

void add_evaluations(ChartSpec& spec, std::span<const ShownRun> runs, const char* column) {
  for (size_t i = 0; i < runs.size(); ++i) {
    const Table& evals = runs[i].history->evals();
    if (!evals.column(column).empty()) {
      ChartLine line{named(runs, i, "evaluation"), points(evals, column),
                     static_cast<int>(runs.size() == 1 ? 1 : i % 8)};
      line.dots = true;
      spec.lines.push_back(std::move(line));
    }
  }
}

// Metrics of an evaluation that training has not: exact match and the like.
void add_own_metrics(std::vector<ChartSpec>& all, std::span<const ShownRun> runs) {
  std::vector<std::string> names;
  for (const ShownRun& run : runs) {
    for (const std::string& name : run.history->evals().names()) {
      const bool known = name == "eval_loss" || name == "eval_mean_token_accuracy" ||
                         name == "eval_entropy" || name == "eval_num_tokens" ||
                         name == "eval_runtime" || name.ends_with("_per_second") ||
                         !name.starts_with("eval_");
      if (!known && std::ranges::find(names, name) == names.end()) {
        names.push_back(name);
      }
    }
  }
  for (const std::string& name : names) {
    ChartSpec spec;
    spec.id = name;
    spec.title = name;
    add_evaluations(spec, runs, name.c_str());
    spec.sentence =
        for_all(runs, [&](const RunHistory& run) { return last_and_best(run.evals(), name); });
    all.push_back(std::move(spec));
  }
}

}  // namespace

ChartSpec loss_chart(std::span<const ShownRun> runs, int smoothing) {
  ChartSpec spec;
  spec.id = "loss";
  spec.title = "Loss";
  for (size_t i = 0; i < runs.size(); ++i) {
    const RunHistory& run = *runs[i].history;
    const Table& logs = run.logs();
    if (!logs.column("loss").empty()) {
      ChartLine line{named(runs, i, runs.size() == 1 ? "training" : ""), points(logs, "loss"),
                     static_cast<int>(i % 8)};
      line.points.low = logs.column("loss_min");
      line.points.high = logs.column("loss_max");
      line.smoothing = smoothing_width(logs, smoothing);
      spec.lines.push_back(std::move(line));
    }
    for (const BadValue& n : run.not_finite()) {
      spec.marks.push_back({static_cast<double>(n.step), n.name + " is not finite"});
    }
    for (const RunEvent& e : run.events()) {
      const auto step = static_cast<double>(e.step);
      if (e.kind == "skipped") {
        spec.marks.push_back({step, e.text});
      } else if (e.kind == "spike") {
        spec.marks.push_back({step, e.text, ChartMark::Kind::spike});
      } else if (e.kind == "saved") {
        spec.marks.push_back({step, e.text, ChartMark::Kind::saved});
      }
    }
  }
  add_evaluations(spec, runs, "eval_loss");
  spec.sentence = for_all(runs, loss_sentence);
  return spec;
}

std::vector<ChartSpec> charts_of(std::span<const ShownRun> runs, int smoothing) {
  std::vector<ChartSpec> all{loss_chart(runs, smoothing)};

  ChartSpec gradient = one_column(runs, "grad_norm", "Gradient norm", "grad_norm", smoothing);
  std::optional<double> clip;
  for (const ShownRun& run : runs) {
    const auto& config = run.history->about();
    clip = config.contains("config") ? number_at(config["config"], "max_grad_norm") : clip;
  }
  if (clip && *clip > 0) {
    gradient.level = clip;
    gradient.level_name = "clipped to " + short_number(*clip);
  }
  gradient.sentence =
      for_all(runs, [&](const RunHistory& run) { return gradient_sentence(run, clip); });
  all.push_back(std::move(gradient));

  ChartSpec rate = one_column(runs, "learning_rate", "Learning rate", "learning_rate", 0, true);
  rate.sentence = for_all(runs, rate_sentence);
  all.push_back(std::move(rate));

  ChartSpec speed =
      one_column(runs, "tokens_per_s", "Tokens a second", "tokens_per_s", smoothing, true);
  speed.sentence = for_all(runs, [](const RunHistory& run) {
    return spread_sentence(run.logs(), "tokens_per_s", "tokens/s", true);
  });
  all.push_back(std::move(speed));

  ChartSpec seconds = one_column(runs, "step_s", "Seconds a step", "step_s", smoothing, true);
  seconds.sentence = for_all(runs, [](const RunHistory& run) {
    return spread_sentence(run.logs(), "step_s", "s a step", false);
  });
  all.push_back(std::move(seconds));

  ChartSpec accuracy = one_column(runs, "mean_token_accuracy", "Share of tokens predicted",
                                  "mean_token_accuracy", smoothing);
  add_evaluations(accuracy, runs, "eval_mean_token_accuracy");
  accuracy.sentence = for_all(
      runs, [](const RunHistory& run) { return last_and_best(run.logs(), "mean_token_accuracy"); });
  all.push_back(std::move(accuracy));
  add_own_metrics(all, runs);

  std::erase_if(all, [](const ChartSpec& spec) { return spec.lines.empty() && spec.id != "loss"; });
  return all;
}

std::vector<ChartSpec> device_charts(std::span<const ShownRun> runs) {
  struct Wanted {
    const char *id, *title, *column, *unit;
  };
  constexpr Wanted kWanted[] = {{"device-util", "Utilisation of the devices", "util", "%"},
                                {"device-memory", "Memory of the devices", "mem_used", "bytes"},
                                {"device-power", "Power of the devices", "power_w", "W"},
                                {"device-temperature", "Temperature of the devices", "temp_c", "C"},
                                {"host-memory", "Memory of the process", "rss", "bytes"}};
  std::vector<ChartSpec> all;
  for (const Wanted& wanted : kWanted) {
    ChartSpec spec;
    spec.id = wanted.id;
    spec.title = wanted.title;
    spec.unit = wanted.unit;
    spec.from_zero = true;
    for (size_t i = 0; i < runs.size(); ++i) {
      for (const auto& [index, table] : runs[i].history->devices()) {
        const auto spread = spread_of(table, wanted.column);
        if (!spread) {
          continue;
        }
        const std::string name = index < 0 ? "process" : fmt::format("device {}", index);
        ChartLine line{named(runs, i, name), points(table, wanted.column),
                       static_cast<int>((spec.lines.size()) % 8)};
        line.smoothing = smoothing_width(table, kUsualSmoothing);
        spec.lines.push_back(std::move(line));
        if (spec.lines.size() <= 4) {
          spec.sentence +=
              fmt::format("{}{}: median {}, highest {} {}.", spec.sentence.empty() ? "" : " ",
                          named(runs, i, name), compact_number(spread->median),
                          compact_number(spread->high), wanted.unit);
        }
      }
    }
    if (!spec.lines.empty()) {
      all.push_back(std::move(spec));
    }
  }
  return all;
}

}  // namespace sft
