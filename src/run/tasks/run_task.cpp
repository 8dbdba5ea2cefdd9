#include "run/tasks/run_task.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "run/batch_writer.h"
#include "run/likelihood.h"
#include "run/tasks/task_docs.h"
#include "run/tasks/task_scores.h"

namespace sft {

namespace {

class TaskRun {
 public:
  TaskRun(OpenRun& run, const TaskFile& task, const TaskSettings& settings,
          const std::function<void(int64_t, int64_t)>& on_row)
      : run_(run),
        task_(task),
        settings_(settings),
        on_row_(on_row),
        docs_(task, run.surroundings().hub, chat(), settings.limit) {}

  TaskResult result() {
    if (task_.output == TaskFile::Output::generate_until) {
      write_answers();
    } else {
      compare_continuations();
    }
    out_.results["alias"] = task_.alias;
    for (const TaskMetric& metric : task_.metrics) {
      for (const TaskFilters& filters : task_.filters) {
        const std::string name = key(metric, filters);
        const Score score = aggregate(metric.name, values_[name]);
        out_.results[name] = score.value;
        out_.results[fmt::format("{}_stderr,{}", metric.name, filters.name)] =
            score.error ? Json(*score.error) : Json("N/A");
      }
      out_.higher_is_better[metric.name] = metric.name != "perplexity";
    }
    out_.samples = {{"original", docs_.rows()}, {"effective", docs_.docs().size()}};
    return std::move(out_);
  }

 private:
  static std::string key(const TaskMetric& metric, const TaskFilters& filters) {
    return fmt::format("{},{}", metric.name, filters.name);
  }

  const ChatTemplate* chat() const {
    if (!settings_.apply_chat_template) {
      return nullptr;
    }
    const TextSetup& text = run_.text();
    if (!text.chat || text.chat_is_default) {
      throw Error("D071", fmt::format("{} has no chat template", run_.source().name()))
          .hint("leave --apply_chat_template out, or give one with --chat_template_path");
    }
    return &*text.chat;
  }

  // As the harness encodes: special tokens as the tokenizer adds them, once.
  std::vector<int32_t> encoded(const std::string& text) const {
    const Tokenizer& tokenizer = run_.text().tokenizer;
    const std::optional<int32_t> first = prefix();
    const std::string begin =
        first ? tokenizer.decode(std::span(&*first, 1), false) : std::string();
    return tokenizer.encode(text, begin.empty() || !text.starts_with(begin));
  }
  std::optional<int32_t> prefix() const {
    const Tokenizer& tokenizer = run_.text().tokenizer;
    return tokenizer.bos_id() ? tokenizer.bos_id() : tokenizer.eos_id();
  }

  // White space between the two belongs to the continuation, where words begin with it.
  Continued pair(std::string context, std::string continuation) const {
    const size_t end = context.find_last_not_of(" \t\n\v\f\r");
    const size_t kept = end == std::string::npos ? 0 : end + 1;
    continuation = context.substr(kept) + continuation;
    context.resize(kept);
    Continued out;
    if (context.empty()) {
      out.continuation = run_.text().tokenizer.encode(continuation, false);
      const std::optional<int32_t> first = prefix();
      if (!first || (!out.continuation.empty() && out.continuation[0] == *first)) {
        out.context.assign(out.continuation.begin(),
                           out.continuation.begin() + (out.continuation.empty() ? 0 : 1));
        out.continuation.erase(out.continuation.begin(),
                               out.continuation.begin() + (out.continuation.empty() ? 0 : 1));
      } else {
        out.context = {*first};
      }
    } else {
      const std::vector<int32_t> whole = encoded(context + continuation);
      out.context = encoded(context);
      const auto begin = std::min(out.context.size(), whole.size());
      out.continuation.assign(whole.begin() + static_cast<long>(begin), whole.end());
    }
    if (out.context.empty()) {
      throw Error("D086", "a context has no tokens").hint("give the model something to go on from");
    }
    return out;
  }

  void compare_continuations() {
    const bool choices = task_.output == TaskFile::Output::multiple_choice;
    std::vector<Continued> pairs;
    size_t longest = 1;
    for (const TaskDoc& doc : docs_.docs()) {
      const std::vector<std::string>& all = choices ? doc.choices : doc.targets;
      for (size_t i = 0; i < (choices ? all.size() : 1); ++i) {
        pairs.push_back(pair(doc.context, (choices ? docs_.delimiter() : "") + all[i]));
        longest = std::max(longest, pairs.back().context.size() + pairs.back().continuation.size());
      }
    }
    LikelihoodRunner runner(run_, static_cast<int64_t>(longest));
    size_t at = 0;
    for (const TaskDoc& doc : docs_.docs()) {
      const size_t count = choices ? doc.choices.size() : 1;
      const std::vector<Likelihood> found = runner.of(std::span(pairs).subspan(at, count));
      at += count;
      Json answers = Json::array();
      for (const Likelihood& one : found) {
        answers.push_back({one.log, one.greedy});
      }
      Json row{{"place", doc.place}, {"context", doc.context}, {"resps", std::move(answers)}};
      if (choices) {
        row["choices"] = doc.choices;
        row["target"] = doc.gold.size() == 1 ? Json(doc.gold[0]) : Json(doc.gold);
      } else {
        row["target"] = doc.targets[0];
      }
      for (const TaskMetric& metric : task_.metrics) {
        const double value = choices                       ? choice_score(metric.name, doc, found)
                             : metric.name == "perplexity" ? found[0].log
                             : found[0].greedy             ? 1.0
                                                           : 0.0;
        for (const TaskFilters& filters : task_.filters) {
          values_[key(metric, filters)].push_back(value);
        }
        row[metric.name] = value;
      }
      finish(std::move(row));
    }
    out_.cut = runner.cut();
  }

  void write_answers() {
    const TextSetup& text = run_.text();
    const int64_t positions = run_.shape().config.max_positions;
    if (task_.max_gen_toks < 1 || task_.max_gen_toks >= positions) {
      throw Error("M037", fmt::format("max_gen_toks is {}, and the model has {} positions",
                                      task_.max_gen_toks, positions))
          .at(task_.file)
          .hint("lower max_gen_toks of generation_kwargs");
    }
    std::vector<std::vector<int32_t>> prompts;
    std::vector<int64_t> numbers;
    int64_t longest = 0;
    for (const TaskDoc& doc : docs_.docs()) {
      std::vector<int32_t> ids = encoded(doc.context);
      if (ids.empty()) {
        throw Error("D086", "the context has no tokens").at(doc.place).hint("write some text");
      }
      if (const int64_t room = positions - task_.max_gen_toks;
          static_cast<int64_t>(ids.size()) > room) {
        ids.erase(ids.begin(), ids.end() - room);
        ++out_.cut;
      }
      longest = std::max(longest, static_cast<int64_t>(ids.size()));
      numbers.push_back(static_cast<int64_t>(prompts.size()));
      prompts.push_back(std::move(ids));
    }
    Generator generator(
        run_.device(), run_.weights(),
        GeneratorRoom{longest + task_.max_gen_toks,
                      std::min(settings_.batch_size, static_cast<int64_t>(prompts.size()))});
    WritingRules rules{task_.max_gen_toks, {}, end_tokens(run_.source(), text), {}};
    rules.sampling = {task_.do_sample, task_.temperature > 0 ? task_.temperature : 1.0, 0, 1.0,
                      settings_.seed};
    rules.stops = [&](size_t, std::span<const int32_t> ids) {
      const std::string so_far = text.tokenizer.decode(ids, true);
      return std::ranges::any_of(task_.until, [&](const std::string& stop) {
        return !stop.empty() && so_far.find(stop) != std::string::npos;
      });
    };
    std::vector<std::string> answers(prompts.size());
    int64_t done = 0;
    BatchWriter(generator, rules).write(prompts, numbers, [&](size_t i, const Writing& writing) {
      std::string& answer = answers[i];
      answer = text.tokenizer.decode(writing.ids, true);
      for (const std::string& stop : task_.until) {
        if (const size_t at = stop.empty() ? std::string::npos : answer.find(stop);
            at != std::string::npos) {
          answer.resize(at);
        }
      }
      progress(++done);
    });
    for (size_t i = 0; i < answers.size(); ++i) {
      score(docs_.docs()[i], answers[i]);
    }
  }

  void score(const TaskDoc& doc, const std::string& answer) {
    Json row{{"place", doc.place}, {"context", doc.context}, {"resps", {answer}}};
    row["target"] = doc.targets.size() == 1 ? Json(doc.targets[0]) : Json(doc.targets);
    for (const TaskFilters& filters : task_.filters) {
      const std::string kept = filtered(filters, answer);
      row["filtered_resps"][filters.name] = kept;
      for (const TaskMetric& metric : task_.metrics) {
        const double value = exact_match(metric, kept, doc.targets);
        values_[key(metric, filters)].push_back(value);
        row[key(metric, filters)] = value;
      }
    }
    out_.rows.push_back(std::move(row));
  }

  void finish(Json row) {
    out_.rows.push_back(std::move(row));
    progress(static_cast<int64_t>(out_.rows.size()));
  }
  void progress(int64_t done) const {
    if (on_row_) {
      on_row_(done, static_cast<int64_t>(docs_.docs().size()));
    }
  }

  OpenRun& run_;
  const TaskFile& task_;
  const TaskSettings& settings_;
  const std::function<void(int64_t, int64_t)>& on_row_;
  TaskDocs docs_;
  std::map<std::string, std::vector<double>> values_;  // by metric and filters, of each row
  TaskResult out_;
};

}  // namespace

TaskResult run_task(OpenRun& run, const TaskFile& task, const TaskSettings& settings,
                    const std::function<void(int64_t, int64_t)>& on_row) {
  return TaskRun(run, task, settings, on_row).result();
}

Json harness_results(const std::vector<TaskFile>& tasks, const std::vector<TaskResult>& results,
                     const Json& config) {
  Json out{{"v", 1}};
  for (size_t i = 0; i < tasks.size(); ++i) {
    const std::string& name = tasks[i].task;
    out["results"][name] = results[i].results;
    out["group_subtasks"][name] = Json::array();
    out["configs"][name] = tasks[i].config;
    out["versions"][name] = tasks[i].version;
    out["n-shot"][name] = tasks[i].num_fewshot;
    out["higher_is_better"][name] = results[i].higher_is_better;
    out["n-samples"][name] = results[i].samples;
  }
  out["config"] = config;
  return out;
}

}  // namespace sft
