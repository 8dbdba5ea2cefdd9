// `sft eval`: how good a model is: its loss on a data set with the labels that training would have,
// or its scores in tasks of lm-evaluation-harness.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "cli/model_commands.h"
#include "cli/model_run.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "core/file.h"
#include "core/file_writer.h"
#include "core/numbers.h"
#include "core/strings.h"
#include "data/find/resolve.h"
#include "data/label_options.h"
#include "options/parser.h"
#include "run/eval_data.h"
#include "run/open_run.h"
#include "run/tasks/run_task.h"
#include "settings/train_options.h"

namespace sft {

namespace {

// What other programs call these.
constexpr ForeignNames kForeign[] = {
    {"task include_path", "tasks", ""},
    {"pretrained model_args", "model_name_or_path", ""},
    {"batch per_device_eval_batch_size eval_batch_size", "batch_size", ""},
    {"dataset data", "dataset_name", ""},
    {"dataset_test_split", "split", ""},
    {"log_samples", "output_path", ""},
};

struct EvalOptions {
  TrainOptions run;  // of a run's options those of its model, data and device
  std::optional<std::string> adapter, split, output_path;
  std::vector<std::string> tasks;
  TaskSettings settings;
  int64_t seed = 42;

  void visit(OptionTable& v) {
    v.group("Model");
    v("model_name_or_path", &run.model.model_name_or_path,
      "A model's folder, a checkpoint, an adapter's folder, a .gguf file, or a hub id; a bare word "
      "on the command line is the same.")
        .also("model");
    v("adapter", &adapter, "An adapter's folder, put onto the model.");
    v("model_revision", &run.model.model_revision, "Branch, tag or commit of a hub id.");
    v.group("Tasks");
    v("tasks", &tasks,
      "Files of tasks in the terms of lm-evaluation-harness: multiple_choice, loglikelihood or "
      "generate_until over data on this machine.");
    v("limit", &settings.limit, "Only so many rows of each task; 0: all.");
    v("apply_chat_template", &settings.apply_chat_template,
      "What is asked is a user's message: render it with the chat template.");
    v("output_path", &output_path,
      "A folder for results.json and, for each task, samples_TASK.jsonl with every row.");
    v.group("Loss on a data set");
    v("split", &split,
      "The split of --dataset_name; without it test where there is one, else "
      "train.");
    visit_labels(run.data, v);
    run.model.visit_quantisation(v);
    v.group("Running");
    v("batch_size", &settings.batch_size, "Rows at a time.").at_least(1);
    v("seed", &seed, "Of answers that are drawn.").at_most(kMostSeed);
    visit_running(v, run, "The results as one JSON object.", "More about what is done.");
    v.foreign(kForeign);
  }
};

// The split to evaluate, where nobody has said.
std::string split_of(const EvalOptions& o, const HubEnvironment& hub) {
  if (o.split) {
    return *o.split;
  }
  const DatasetSource source{.name = *o.run.data.dataset_name,
                             .config = o.run.data.dataset_config,
                             .data_dir = {},
                             .data_files = {},
                             .trusts_card = o.run.data.trust_dataset_card};
  const auto splits = resolve_splits(source, "all", hub);
  return std::ranges::any_of(splits, [](const DatasetFiles& f) { return f.split == "test"; })
             ? "test"
             : "train";
}

int evaluate_on_data(EvalOptions& o, const RunSurroundings& surroundings, Terminal& terminal) {
  DataOptions& data = o.run.data;
  data.dataset_train_split = split_of(o, surroundings.hub);
  o.run.per_device_eval_batch_size = o.settings.batch_size;
  OpenRun run(o.run, surroundings, Outputs::checked, {.adapter = o.adapter.value_or("")});
  run.text();
  Progress progress(terminal, "batch", 0);
  const DataEvaluation found =
      evaluate_data(run, [&](int64_t done, int64_t) { progress.update(done); });
  progress.finish();
  const Evaluation& e = found.as_trained;
  if (o.run.json) {
    terminal.print(to_text(Json{{"v", 1},
                                {"model", run.source().name()},
                                {"dataset", *data.dataset_name},
                                {"split", data.dataset_train_split},
                                {"loss", found.loss},
                                {"perplexity", found.perplexity},
                                {"mean_token_accuracy", found.accuracy},
                                {"entropy", e.entropy},
                                {"eval_loss", e.loss},
                                {"eval_mean_token_accuracy", e.accuracy},
                                {"rows", e.rows},
                                {"tokens_trained", found.tokens},
                                {"seconds", e.seconds}}));
    return 0;
  }
  terminal.print(fmt::format("loss         {:.6g}", found.loss));
  terminal.print(fmt::format("perplexity   {:.6g}", found.perplexity));
  terminal.print(fmt::format("accuracy     {:.4f} of {} trained tokens", found.accuracy,
                             with_commas(found.tokens)));
  terminal.print(
      fmt::format("as training  eval_loss {:.6g}, eval_mean_token_accuracy {:.4f}, {} "
                  "rows in batches of {}",
                  e.loss, e.accuracy, with_commas(e.rows), o.settings.batch_size));
  return 0;
}

std::string number(const Json& value) {
  return value.is_number() ? fmt::format("{:.4f}", value.get<double>()) : "";
}

// One line for each metric of each task.
void print_table(const std::vector<TaskFile>& tasks, const std::vector<TaskResult>& results,
                 Terminal& terminal) {
  size_t widest = 4;
  for (const TaskFile& task : tasks) {
    widest = std::max(widest, task.alias.size());
  }
  terminal.print(fmt::format("{:{}}  {:>6}  {:14} {:12} {:>8}  {:>8}", "task", widest, "rows",
                             "metric", "filter", "value", "stderr"));
  for (size_t i = 0; i < tasks.size(); ++i) {
    for (const TaskFilters& filters : tasks[i].filters) {
      for (const TaskMetric& metric : tasks[i].metrics) {
        const Json& all = results[i].results;
        terminal.print(fmt::format("{:{}}  {:>6}  {:14} {:12} {:>8}  {:>8}", tasks[i].alias, widest,
                                   results[i].rows.size(), metric.name, filters.name,
                                   number(all.at(metric.name + "," + filters.name)),
                                   number(all.at(metric.name + "_stderr," + filters.name))));
      }
    }
  }
}

void write_results(const std::filesystem::path& folder, const std::vector<TaskFile>& tasks,
                   const std::vector<TaskResult>& results, const Json& all) {
  std::filesystem::create_directories(folder);
  write_text(folder / "results.json", to_text(all, 2) + "\n");
  for (size_t i = 0; i < tasks.size(); ++i) {
    std::string lines;
    for (const Json& row : results[i].rows) {
      lines += to_text(row) + "\n";
    }
    write_text(folder / fmt::format("samples_{}.jsonl", tasks[i].task), lines);
  }
}

int run_tasks(EvalOptions& o, const RunSurroundings& surroundings, Terminal& terminal,
              const Logger& log) {
  const std::vector<TaskFile> tasks = TaskFile::read_all(o.tasks);  // before any weight is read
  o.settings.seed = static_cast<uint64_t>(o.seed);
  OpenRun run(o.run, surroundings, Outputs::checked, {.adapter = o.adapter.value_or("")});
  run.text();
  const auto start = std::chrono::steady_clock::now();
  std::vector<TaskResult> results;
  for (const TaskFile& task : tasks) {
    Progress progress(terminal, "row", 0);
    results.push_back(run_task(run, task, o.settings,
                               [&](int64_t done, int64_t) { progress.update(done, task.task); }));
    progress.finish();
    if (results.back().cut > 0) {
      log.warn(
          fmt::format("{}: {} contexts are longer than the model reads; they lost their "
                      "beginning",
                      task.task, with_commas(results.back().cut)));
    }
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  Json all = harness_results(
      tasks, results,
      {{"model", "sft"},
       {"model_args", fmt::format("pretrained={}", *o.run.model.model_name_or_path)},
       {"batch_size", o.settings.batch_size},
       {"device", run.device().name()},
       {"limit", o.settings.limit > 0 ? Json(o.settings.limit) : Json()},
       {"random_seed", o.seed}});
  all["chat_template"] = o.settings.apply_chat_template ? Json(run.text().chat->source()) : Json();
  all["model_name"] = *o.run.model.model_name_or_path;
  all["max_length"] = run.shape().config.max_positions;
  all["sft_version"] = SFT_VERSION;
  all["total_evaluation_time_seconds"] = fmt::format("{:.3f}", seconds);
  if (o.output_path) {
    write_results(*o.output_path, tasks, results, all);
  }
  if (o.run.json) {
    terminal.print(to_text(all));
  } else {
    print_table(tasks, results, terminal);
  }
  return 0;
}

}  // namespace

int run_eval(Args args, Terminal& terminal) {
  EvalOptions o;
  OptionTable table;
  o.visit(table);
  if (asks_for_help(args)) {
    show_usage(
        "sft eval MODEL --dataset_name DATA [options]\n"
        "       sft eval MODEL --tasks TASK.yaml [options]",
        table, terminal);
    return 0;
  }
  const ParsedOptions parsed = parse_options(table, args, {.positionals = true, .config = false});
  if (!o.run.model.model_name_or_path && parsed.positionals.size() == 1) {
    o.run.model.model_name_or_path = parsed.positionals[0];
  } else if (!parsed.positionals.empty()) {
    throw Error("C061", "one model is evaluated at a time")
        .hint("sft eval MODEL --dataset_name DATA");
  }
  require_model(o.run);
  const bool data = o.run.data.dataset_name.has_value();
  if (data == !o.tasks.empty()) {
    throw Error("C061", "a data set or tasks to evaluate on are needed, one of the two")
        .hint("sft eval MODEL --dataset_name DATA");
  }
  const Logger log = terminal.logger(o.run.quiet, o.run.verbose);
  for (const std::string& note : parsed.notes) {
    log.note(note);
  }
  const ModelRun model_run(o.run, terminal, log);
  const RunSurroundings& surroundings = model_run.surroundings();
  return data ? evaluate_on_data(o, surroundings, terminal)
              : run_tasks(o, surroundings, terminal, log);
}

}  // namespace sft
