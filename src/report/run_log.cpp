#include "report/run_log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/file_writer.h"
#include "core/python_number.h"
#include "core/strings.h"
#include "report/python_repr.h"
#include "settings/report_names.h"

namespace sft {
namespace {

std::string iso_time(double unix_seconds) {
  const auto seconds = static_cast<std::time_t>(unix_seconds);
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(seconds));
}

void add(Json& values, const char* key, const std::optional<double>& value) {
  if (value) {
    values[key] = *value;
  }
}

// The names of the values that JSON cannot hold.
Json not_finite(const Json& values) {
  Json names = Json::array();
  for (const auto& [name, value] : values.items()) {
    if (value.is_number_float() && !std::isfinite(value.get<double>())) {
      names.push_back(name);
    }
  }
  return names;
}

}  // namespace

RunLog::RunLog(Setup setup)
    : setup_(std::move(setup)), metrics_(setup_.output_dir / "metrics.jsonl") {
  if (!setup_.now) {
    setup_.now = [] {
      const auto since = std::chrono::system_clock::now().time_since_epoch();
      return std::chrono::duration<double>(since).count();
    };
  }
  began_ = setup_.now();
}

void RunLog::append(const char* kind, const Json& fields) {
  step_ = state_.global_step;
  append_line(kind, fields);
}

void RunLog::append_line(const char* kind, const Json& fields) {
  const std::lock_guard lock(mutex_);
  Json line{{"k", kind}, {"t", python_round(setup_.now(), 3)}};
  line.update(fields);
  const Json bad = not_finite(fields);
  if (!bad.empty()) {
    line["nonfinite"] = bad;
  }
  metrics_.append(to_text(line));
  if (setup_.also) {
    setup_.also(line);
  }
}

void RunLog::console(Json values) {
  if (!setup_.print) {
    return;
  }
  values.erase("total_flos");
  values["epoch"] = python_round(values["epoch"].get<double>(), 2);
  if (values.contains("loss")) {
    values["loss"] = python_round(values["loss"].get<double>(), 4);
  }
  setup_.print(python_repr(values));
}

void RunLog::remember(Json values) {
  values["step"] = state_.global_step;
  state_.log_history.push_back(std::move(values));
}

// As transformers' Trainer adds them to a line.
void RunLog::add_input_tokens(Json& values) const {
  if (setup_.input_tokens) {
    values["num_input_tokens_seen"] = state_.num_input_tokens_seen;
  }
}

void RunLog::start(const std::string& id, const Json& about, const std::string& resumed_from) {
  began_ = setup_.now();
  input_tokens_before_ = state_.num_input_tokens_seen;
  Json line{{"id", id}, {"started", iso_time(began_)}};
  line.update(about);
  if (!resumed_from.empty()) {
    line["resumed_from"] = resumed_from;
    line["step"] = state_.global_step;
  }
  append("run", line);
}

void RunLog::log(const TrainLog& v) {
  Json values{{"loss", v.loss}, {"grad_norm", v.grad_norm}, {"learning_rate", v.learning_rate}};
  add(values, "entropy", v.entropy);
  values["num_tokens"] = v.num_tokens;
  add(values, "mean_token_accuracy", v.mean_token_accuracy);
  add(values, "aux_loss", v.aux_loss);
  values["epoch"] = state_.epoch;
  add_input_tokens(values);
  if (setup_.input_tokens) {
    const double seconds = std::max(setup_.now() - began_, 1e-9);
    const auto seen = state_.num_input_tokens_seen - input_tokens_before_;
    values["train_runtime"] = python_round(seconds, 4);
    values["train_tokens_per_second"] = python_round(static_cast<double>(seen) / seconds, 3);
  }
  console(values);
  remember(values);

  Json line{{"step", state_.global_step}};
  line.update(values);
  line["tokens_per_s"] = v.tokens_per_s;
  line["step_s"] = v.step_s;
  add(line, "mfu", v.mfu);
  add(line, "loss_min", v.loss_min);
  add(line, "loss_max", v.loss_max);
  add(line, "grad_norm_max", v.grad_norm_max);
  line["skipped_steps"] = v.skipped_steps;
  add(line, "loss_scale", v.loss_scale);
  append("log", line);
}

Json RunLog::eval(const EvalLog& v) {
  const double seconds = std::max(v.runtime, 1e-9);
  Json values{
      {"eval_loss", v.loss},
      {"eval_runtime", python_round(v.runtime, 4)},
      {"eval_samples_per_second", python_round(static_cast<double>(v.samples) / seconds, 3)},
      {"eval_steps_per_second", python_round(static_cast<double>(v.batches) / seconds, 3)}};
  add(values, "eval_entropy", v.entropy);
  values["eval_num_tokens"] = v.num_tokens;
  add(values, "eval_mean_token_accuracy", v.mean_token_accuracy);
  add(values, "eval_aux_loss", v.aux_loss);
  for (const auto& [name, value] : v.more) {
    values[name] = value;
  }
  values["epoch"] = state_.epoch;
  add_input_tokens(values);
  console(values);
  remember(values);

  Json line{{"step", state_.global_step}};
  line.update(values);
  line["samples"] = v.samples;
  append("eval", line);
  return values;
}

void RunLog::samples(const std::vector<SampleLog>& samples) {
  for (size_t i = 0; i < samples.size(); ++i) {
    const SampleLog& sample = samples[i];
    Json line{{"step", state_.global_step}, {"index", i},
              {"prompt", sample.prompt},    {"text", sample.text},
              {"tokens", sample.tokens},    {"ended", sample.ended}};
    if (sample.reference) {
      line["reference"] = *sample.reference;
    }
    append("sample", line);
  }
}

void RunLog::time(const TimeLog& s) {
  append("time", {{"step", state_.global_step},
                  {"steps", s.steps},
                  {"data_s", s.data},
                  {"copy_s", s.copy},
                  {"fwd_bwd_s", s.fwd_bwd},
                  {"comm_s", s.comm},
                  {"opt_s", s.opt},
                  {"eval_s", s.eval},
                  {"save_s", s.save},
                  {"host_s", s.host}});
}

void RunLog::device(int index, const Json& values) {
  Json line{{"step", step_.load()}, {"device", index}};
  line.update(values);
  append_line("dev", line);
}

void RunLog::event(std::string_view level, std::optional<Code> code, std::string_view text,
                   std::string_view hint, std::string_view kind) {
  Json line{{"step", state_.global_step},
            {"level", level},
            {"code", code ? code->text() : ""},
            {"text", text}};
  if (!hint.empty()) {
    line["hint"] = hint;
  }
  if (!kind.empty()) {
    line["event"] = kind;
  }
  append("event", line);
}

void RunLog::finish(const TrainSummary& s) {
  const double seconds = std::max(s.runtime, 1e-9);
  Json values{{"train_runtime", python_round(s.runtime, 4)},
              {"train_samples_per_second", python_round(s.samples / seconds, 3)},
              {"train_steps_per_second", python_round(static_cast<double>(s.steps) / seconds, 3)},
              {"total_flos", state_.total_flos},
              {"train_loss", s.train_loss}};
  add(values, "entropy", s.entropy);
  add(values, "num_tokens", s.num_tokens);
  add(values, "mean_token_accuracy", s.mean_token_accuracy);
  add(values, "aux_loss", s.aux_loss);
  values["epoch"] = state_.epoch;
  add_input_tokens(values);
  tokens_ = s.tokens;
  console(values);
  remember(values);
  Json line{{"step", state_.global_step}};
  line.update(values);
  append("finish", line);
  save_state(setup_.output_dir);
}

void RunLog::end(RunStatus status, std::optional<Code> code, const Json& about) {
  const char* name = status == RunStatus::done      ? "done"
                     : status == RunStatus::stopped ? "stopped"
                                                    : "failed";
  Json line{{"step", state_.global_step},
            {"status", name},
            {"wall", python_round(setup_.now() - began_, 3)},
            {"tokens", tokens_}};
  if (code) {
    line["code"] = code->text();
  }
  line.update(about);
  append("end", line);
}

void RunLog::save_state(const fs::path& folder) const {
  write_text(folder / "trainer_state.json", state_.text());
}

double metric_value(const Json& eval_values, const std::string& metric) {
  check_metric(metric, true);
  return eval_values.at(metric.starts_with("eval_") ? metric : "eval_" + metric).get<double>();
}

}  // namespace sft
