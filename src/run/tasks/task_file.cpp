#include "run/tasks/task_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>

#include "core/error.h"
#include "core/file.h"
#include "core/numbers.h"
#include "options/yaml_json.h"

namespace sft {

namespace {

constexpr Code kNotRead = "C240";

[[noreturn]] void not_read(const TaskFile& t, const std::string& what, const std::string& hint) {
  throw Error(kNotRead, what).at(t.file).hint(hint);
}

[[noreturn]] void wrong_kind(const TaskFile& t, const std::string& key, const Json& value,
                             const char* wanted) {
  not_read(t, fmt::format("{} is {}, wanted {}", key, to_text(value), wanted),
           "the keys are those of lm-evaluation-harness: docs/evaluate.md lists them");
}

std::string text(const TaskFile& t, const std::string& key, const Json& value) {
  if (!value.is_string()) {
    wrong_kind(t, key, value, "a text");
  }
  return value.get<std::string>();
}

int64_t count(const TaskFile& t, const std::string& key, const Json& value) {
  const auto number = json_whole(value, 0, kMostCount);
  if (!number) {
    wrong_kind(t, key, value, "a number from 0 up");
  }
  return *number;
}

bool truth(const TaskFile& t, const std::string& key, const Json& value) {
  if (!value.is_boolean()) {
    wrong_kind(t, key, value, "true or false");
  }
  return value.get<bool>();
}

std::vector<std::string> texts(const TaskFile& t, const std::string& key, const Json& value) {
  std::vector<std::string> out;
  if (value.is_string()) {
    out.push_back(value.get<std::string>());
  } else if (value.is_array()) {
    for (const Json& one : value) {
      out.push_back(text(t, key, one));
    }
  } else if (!value.is_null()) {
    wrong_kind(t, key, value, "a text or a list of texts");
  }
  return out;
}

using Read = std::function<void(TaskFile&, const std::string&, const Json&)>;
using Keys = std::map<std::string, Read>;

// Reads each key of an object by the table; one that is not in it is refused.
void read_object(TaskFile& t, const std::string& inside, const Json& object, const Keys& keys) {
  if (!object.is_object()) {
    wrong_kind(t, inside, object, "keys with values");
  }
  for (const auto& [key, value] : object.items()) {
    const auto found = keys.find(key);
    const std::string name = inside.empty() ? key : inside + "." + key;
    if (found == keys.end()) {
      std::vector<std::string> known;
      for (const auto& [known_key, read] : keys) {
        known.push_back(known_key);
      }
      not_read(t, fmt::format("the key {} is not read here", name),
               fmt::format("there are {}", fmt::join(known, ", ")));
    }
    if (!value.is_null()) {
      found->second(t, name, value);
    }
  }
}

void ignored(TaskFile& /*task*/, const std::string& /*key*/, const Json& /*value*/) {}

constexpr std::array<std::pair<TaskFile::Output, const char*>, 3> kOutputs{{
    {TaskFile::Output::multiple_choice, "multiple_choice"},
    {TaskFile::Output::loglikelihood, "loglikelihood"},
    {TaskFile::Output::generate_until, "generate_until"},
}};

// The metrics of each kind of task; the first `defaults` of them where the file names none.
struct KindMetrics {
  TaskFile::Output output;
  std::vector<std::string> names;
  size_t defaults;
};
const std::vector<KindMetrics>& kind_metrics() {
  static const std::vector<KindMetrics> table{
      {TaskFile::Output::multiple_choice, {"acc", "acc_norm", "acc_bytes", "exact_match"}, 2},
      {TaskFile::Output::loglikelihood, {"perplexity", "acc"}, 2},
      {TaskFile::Output::generate_until, {"exact_match"}, 1}};
  return table;
}

const KindMetrics& metrics_of(TaskFile::Output output) {
  return *std::ranges::find(kind_metrics(), output, &KindMetrics::output);
}

void read_output(TaskFile& t, const std::string& key, const Json& value) {
  const std::string name = text(t, key, value);
  std::vector<std::string> known;
  for (const auto& [output, known_name] : kOutputs) {
    if (name == known_name) {
      t.output = output;
      return;
    }
    known.emplace_back(known_name);
  }
  not_read(t, fmt::format("output_type is {}", name),
           fmt::format("there are {}", fmt::join(known, ", ")));
}

void read_data(TaskFile& t, const std::string& key, const Json& value) {
  read_object(
      t, key, value,
      {{"data_files", [](TaskFile& f, const std::string&, const Json& v) { f.data_files = v; }},
       {"data_dir",
        [](TaskFile& f, const std::string& k, const Json& v) { f.data_dir = text(f, k, v); }}});
}

void read_metrics(TaskFile& t, const std::string& key, const Json& value) {
  if (!value.is_array() || value.empty()) {
    wrong_kind(t, key, value, "a list of metrics");
  }
  for (const Json& one : value) {
    TaskMetric metric;
    const auto aggregation = [&](TaskFile& f, const std::string& k, const Json& v) {
      const std::string name = text(f, k, v);
      const bool mean = metric.name != "perplexity";
      if (name != (mean ? "mean" : "perplexity")) {
        not_read(f, fmt::format("{} of {} is {}", k, metric.name, name),
                 fmt::format("{} has aggregation: {}", metric.name, mean ? "mean" : "perplexity"));
      }
    };
    if (one.is_object() && one.contains("metric")) {
      metric.name = text(t, key, one["metric"]);
    }
    read_object(
        t, key, one,
        {{"metric", ignored},
         {"aggregation", aggregation},
         {"higher_is_better", ignored},  // it follows from the metric
         {"ignore_case", [&](TaskFile& f, const std::string& k,
                             const Json& v) { metric.ignore_case = truth(f, k, v); }},
         {"ignore_punctuation", [&](TaskFile& f, const std::string& k,
                                    const Json& v) { metric.ignore_punctuation = truth(f, k, v); }},
         {"ignore_numbers", [&](TaskFile& f, const std::string& k,
                                const Json& v) { metric.ignore_numbers = truth(f, k, v); }},
         {"regexes_to_ignore", [&](TaskFile& f, const std::string& k, const Json& v) {
            metric.regexes_to_ignore = texts(f, k, v);
          }}});
    t.metrics.push_back(std::move(metric));
  }
}

void read_filters(TaskFile& t, const std::string& key, const Json& value) {
  constexpr std::array kFunctions{"regex", "lowercase", "uppercase", "remove_whitespace",
                                  "take_first"};
  if (!value.is_array()) {
    wrong_kind(t, key, value, "a list of filters");
  }
  for (const Json& one : value) {
    TaskFilters named;
    const auto read_steps = [&](TaskFile& f, const std::string& k, const Json& steps) {
      if (!steps.is_array()) {
        wrong_kind(f, k, steps, "a list of functions");
      }
      for (const Json& step : steps) {
        TaskFilter filter;
        read_object(f, k, step,
                    {{"function", [&](TaskFile& g, const std::string& name,
                                      const Json& v) { filter.function = text(g, name, v); }},
                     {"regex_pattern", [&](TaskFile& g, const std::string& name,
                                           const Json& v) { filter.pattern = text(g, name, v); }},
                     {"group_select",
                      [&](TaskFile& g, const std::string& name, const Json& v) {
                        const auto number = json_whole(v, -1000, 1000);
                        if (!number) {
                          wrong_kind(g, name, v, "a whole number");
                        }
                        filter.group_select = *number;
                      }},
                     {"fallback", [&](TaskFile& g, const std::string& name, const Json& v) {
                        filter.fallback = text(g, name, v);
                      }}});
        if (std::ranges::find(kFunctions, filter.function) == kFunctions.end()) {
          not_read(f, fmt::format("the filter function is \"{}\"", filter.function),
                   fmt::format("there are {}", fmt::join(kFunctions, ", ")));
        }
        named.filters.push_back(std::move(filter));
      }
    };
    read_object(t, key, one,
                {{"name", [&](TaskFile& f, const std::string& k,
                              const Json& v) { named.name = text(f, k, v); }},
                 {"filter", read_steps}});
    t.filters.push_back(std::move(named));
  }
}

void read_generation(TaskFile& t, const std::string& key, const Json& value) {
  read_object(
      t, key, value,
      {{"until",
        [](TaskFile& f, const std::string& k, const Json& v) { f.until = texts(f, k, v); }},
       {"max_gen_toks",
        [](TaskFile& f, const std::string& k, const Json& v) { f.max_gen_toks = count(f, k, v); }},
       {"max_new_tokens",
        [](TaskFile& f, const std::string& k, const Json& v) { f.max_gen_toks = count(f, k, v); }},
       {"do_sample",
        [](TaskFile& f, const std::string& k, const Json& v) { f.do_sample = truth(f, k, v); }},
       {"temperature", [](TaskFile& f, const std::string& k, const Json& v) {
          const auto number = json_real(v, 0, 1e6);
          if (!number) {
            wrong_kind(f, k, v, "a number from 0 up");
          }
          f.temperature = *number;
        }}});
}

void read_fewshot(TaskFile& t, const std::string& key, const Json& value) {
  read_object(t, key, value,
              {{"sampler",
                [](TaskFile& f, const std::string& k, const Json& v) {
                  if (text(f, k, v) != "first_n") {
                    not_read(
                        f, fmt::format("{} is {}", k, to_text(v)),
                        "examples are the first ones here: fewshot_config: {sampler: first_n}");
                  }
                }},
               {"split", [](TaskFile& f, const std::string& k, const Json& v) {
                  f.fewshot_split = text(f, k, v);
                }}});
}

const Keys& task_keys() {
  const auto into = [](std::string TaskFile::* member) -> Read {
    return [member](TaskFile& t, const std::string& key, const Json& value) {
      t.*member = text(t, key, value);
    };
  };
  static const Keys keys{
      {"task", into(&TaskFile::task)},
      {"task_alias", into(&TaskFile::alias)},
      {"tag", ignored},
      {"group", ignored},
      {"dataset_path", into(&TaskFile::dataset_path)},
      {"dataset_name", into(&TaskFile::dataset_name)},
      {"dataset_kwargs", read_data},
      {"training_split", ignored},
      {"validation_split",
       [](TaskFile& t, const std::string& key, const Json& value) {
         t.split = t.split.empty() ? text(t, key, value) : t.split;
       }},
      {"test_split", into(&TaskFile::split)},
      {"fewshot_split", into(&TaskFile::fewshot_split)},
      {"fewshot_config", read_fewshot},
      {"num_fewshot", [](TaskFile& t, const std::string& key,
                         const Json& value) { t.num_fewshot = count(t, key, value); }},
      {"output_type", read_output},
      {"doc_to_text", into(&TaskFile::doc_to_text)},
      {"doc_to_target",
       [](TaskFile& t, const std::string&, const Json& value) { t.doc_to_target = value; }},
      {"doc_to_choice",
       [](TaskFile& t, const std::string&, const Json& value) { t.doc_to_choice = value; }},
      {"description", into(&TaskFile::description)},
      {"gen_prefix", into(&TaskFile::gen_prefix)},
      {"target_delimiter", into(&TaskFile::target_delimiter)},
      {"fewshot_delimiter", into(&TaskFile::fewshot_delimiter)},
      {"metric_list", read_metrics},
      {"filter_list", read_filters},
      {"generation_kwargs", read_generation},
      {"repeats",
       [](TaskFile& t, const std::string& key, const Json& value) {
         if (count(t, key, value) != 1) {
           not_read(t, fmt::format("repeats is {}", to_text(value)), "each row is asked once");
         }
       }},
      {"should_decontaminate", ignored},
      {"doc_to_decontamination_query", ignored},
      {"metadata",
       [](TaskFile& t, const std::string&, const Json& value) {
         if (value.is_object() && value.contains("version")) {
           t.version = value["version"];
         }
       }},
  };
  return keys;
}

void complete(TaskFile& t) {
  const auto needs = [&](bool there, const char* key) {
    if (!there) {
      not_read(t, fmt::format("a task of the kind {} needs {}", name_of(t.output), key),
               "docs/evaluate.md has an example");
    }
  };
  needs(!t.task.empty(), "task, its name");
  needs(!t.dataset_path.empty(), "dataset_path");
  needs(!t.split.empty(), "test_split, or validation_split");
  needs(!t.doc_to_text.empty(), "doc_to_text");
  needs(!t.doc_to_target.is_null(), "doc_to_target");
  needs(t.output != TaskFile::Output::multiple_choice || !t.doc_to_choice.is_null(),
        "doc_to_choice");
  const KindMetrics& kind = metrics_of(t.output);
  if (t.metrics.empty()) {
    for (size_t i = 0; i < kind.defaults; ++i) {
      t.metrics.push_back({kind.names[i]});
    }
  }
  for (const TaskMetric& metric : t.metrics) {
    if (std::ranges::find(kind.names, metric.name) == kind.names.end()) {
      not_read(t, fmt::format("the metric is \"{}\"", metric.name),
               fmt::format("{} has {}", name_of(t.output), fmt::join(kind.names, ", ")));
    }
  }
  if (t.filters.empty()) {
    t.filters.emplace_back();
  }
  if (!t.config.contains("generation_kwargs")) {
    t.until = {t.fewshot_delimiter};
  }
  t.do_sample = t.do_sample && t.temperature > 0;
  if (t.alias.empty()) {
    t.alias = t.task;
  }
  if (t.fewshot_split.empty()) {
    t.fewshot_split = t.config.value("training_split", t.split);
  }
  if (t.num_fewshot > 0 && !t.config.contains("fewshot_config")) {
    not_read(t, fmt::format("num_fewshot is {}, with examples drawn at random", t.num_fewshot),
             "take the first ones: fewshot_config: {sampler: first_n}");
  }
}

}  // namespace

const char* name_of(TaskFile::Output output) {
  return std::ranges::find(kOutputs, output, [](const auto& pair) { return pair.first; })->second;
}

std::vector<TaskFile> TaskFile::read_all(const std::vector<std::string>& files) {
  std::vector<TaskFile> tasks;
  for (const std::string& file : files) {
    TaskFile task = read(file);
    if (std::ranges::find(tasks, task.task, &TaskFile::task) != tasks.end()) {
      not_read(task, fmt::format("two tasks are named {}", task.task),
               "give each task a name of its own");
    }
    tasks.push_back(std::move(task));
  }
  return tasks;
}

TaskFile TaskFile::read(const std::filesystem::path& file) {
  TaskFile t;
  t.file = file.string();
  YAML::Node node;
  try {
    node = YAML::Load(read_text(file));
  } catch (const YAML::Exception& e) {
    throw Error(kNotRead, fmt::format("this is no YAML: {}", e.msg))
        .at(yaml_place(t.file, e.mark))
        .hint("docs/evaluate.md has an example");
  }
  t.config = yaml_to_json(node, t.file);
  read_object(t, "", t.config, task_keys());
  complete(t);
  return t;
}

}  // namespace sft
