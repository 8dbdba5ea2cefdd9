#include "report/page/sections.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "core/strings.h"
#include "report/charts/text.h"
#include "report/page/run_facts.h"
#include "settings/train_options.h"

namespace sft {

namespace {

std::string with_digits(double value, int digits) { return fmt::format("{:.{}f}", value, digits); }

std::string bar(double share) {
  const double width = 100 * std::clamp(share, 0.0, 1.0);
  return fmt::format(
      "<svg class=\"bar\" viewBox=\"0 0 100 8\" preserveAspectRatio=\"none\" aria-hidden=\"true\">"
      "<rect class=\"rest\" width=\"100\" height=\"8\"/><rect class=\"part\" width=\"{}\" "
      "height=\"8\"/></svg>",
      coordinate(width));
}

std::string heading(std::span<const ShownRun> runs, const ShownRun& run) {
  return runs.size() > 1 ? fmt::format("<h3>{}</h3>", html_text(run.name)) : "";
}

std::string status_words(const RunFacts& f) {
  if (f.status == "silent") {
    return "no news";
  }
  return f.status;
}

std::string status_of_one(const ShownRun& run, const PageView& view) {
  const RunFacts f = facts_of(*run.history, view.now, view.price);
  std::string out =
      fmt::format("<h1>{} <span class=\"state {}\">{}</span></h1>", html_text(run.name),
                  html_text(f.status), html_text(status_words(f)));
  if (!f.why.empty()) {
    out += fmt::format("<p class=\"why\">{}</p>", html_text(f.why));
  }
  out += fmt::format("<p><b>step <span class=\"step\">{}</span>{}</b>", with_commas(f.step),
                     f.total ? " of " + with_commas(*f.total) : "");
  if (f.total && *f.total > 0) {
    const double share = static_cast<double>(f.step) / static_cast<double>(*f.total);
    out += fmt::format(" &middot; {} %{}", with_digits(100 * share, 0), bar(share));
  }
  out += "</p><p>";
  const auto fact = [&](const std::string& text) {
    out += fmt::format("<span class=\"fact\">{}</span> ", html_text(text));
  };
  if (f.loss) {
    fact("loss " + short_number(*f.loss));
  }
  if (f.best_eval) {
    fact(fmt::format("best evaluation {} at {}", short_number(*f.best_eval),
                     with_commas(f.best_step)));
  }
  if (f.tokens_per_s) {
    fact(compact_number(*f.tokens_per_s) + " tokens/s");
  }
  if (f.mfu) {
    fact(with_digits(100 * *f.mfu, 1) + " % of the card's peak");
  }
  if (f.memory && f.memory_total) {
    fact(human_bytes(*f.memory) + " of " + human_bytes(*f.memory_total));
  }
  if (f.temperature) {
    fact(with_digits(*f.temperature, 0) + " \u00b0C");
  }
  if (f.power) {
    fact(with_digits(*f.power, 0) + (f.power_limit ? " of " + with_digits(*f.power_limit, 0) : "") +
         " W");
  }
  if (f.elapsed_s > 0) {
    fact(human_seconds(f.elapsed_s) + " so far");
  }
  if (f.left_s) {
    fact(fmt::format("{} left (till {} UTC)", human_seconds(*f.left_s),
                     clock_time(view.now + *f.left_s)));
  }
  if (f.kwh) {
    fact(with_digits(*f.kwh, 3) + " kWh" +
         (f.kwh_left ? fmt::format(", {} more to the end", with_digits(*f.kwh_left, 3)) : ""));
  }
  if (f.cost) {
    fact("cost " + with_digits(*f.cost, 2) +
         (f.cost_left ? fmt::format(", {} more to the end", with_digits(*f.cost_left, 2)) : ""));
  }
  if (view.live) {
    const double age = std::max(0.0, view.now - run.history->last_time());
    if (f.status == "running" || f.status == "silent") {
      fact("last news " + human_seconds(age) + " ago");
    }
    if (run.unread > 0) {
      fact(fmt::format("still reading: {} to go", human_bytes(static_cast<double>(run.unread))));
    }
  }
  return out + "</p>";
}

// Words with a link or a command are left as they are: everything is shown as text.
std::string events_of(const RunHistory& run) {
  constexpr size_t kShown = 300;
  std::string out = "<table><thead><tr><th>time (UTC)<th>step<th>what</thead><tbody>";
  const auto& events = run.events();
  const size_t from = events.size() > kShown ? events.size() - kShown : 0;
  for (size_t i = events.size(); i-- > from;) {
    const RunEvent& e = events[i];
    out += fmt::format(
        "<tr class=\"{}\"><td>{}<td>{}<td>{}{}{}", html_text(e.kind.empty() ? e.level : e.kind),
        e.time > 0 ? clock_time(e.time) : "", with_commas(e.step),
        e.code.empty() ? "" : fmt::format("<b>{}</b> ", html_text(e.code)), html_text(e.text),
        e.hint.empty() ? "" : fmt::format(" <span class=\"hint\">{}</span>", html_text(e.hint)));
  }
  out += "</tbody></table>";
  if (from > 0) {
    out += fmt::format("<p>{} earlier ones stand in metrics.jsonl.</p>", from);
  }
  return out;
}

Json config_of(const ShownRun& run) { return run.history->about().value("config", Json::object()); }

std::string value_text(const Json& value) {
  return value.is_null() ? "none" : value.is_string() ? value.get<std::string>() : to_text(value);
}

}  // namespace

std::string status_section(std::span<const ShownRun> runs, const PageView& view) {
  std::string out;
  for (const ShownRun& run : runs) {
    out += fmt::format("<div class=\"run\">{}</div>", status_of_one(run, view));
  }
  if (view.live) {
    out += fmt::format(
        "<p class=\"buttons\"><span id=\"link\" role=\"status\"></span> <button id=\"zoom\" "
        "type=\"button\">show all</button> <button id=\"log\" type=\"button\">log scale</button> "
        "<button id=\"smooth\" type=\"button\">smoothing</button> <a href=\"report\" "
        "download=\"report.html\">report.html</a>{}</p>",
        view.can_stop ? " <button id=\"stop\" type=\"button\">stop and save</button>" : "");
  }
  return out;
}

std::string time_section(std::span<const ShownRun> runs) {
  std::string out;
  for (const ShownRun& run : runs) {
    const TimeSplit all = time_split(*run.history, 0);
    const TimeSplit recent = time_split(*run.history, 10);
    if (all.seconds <= 0 || all.steps <= 0) {
      continue;
    }
    const auto most = std::ranges::max_element(all.activities, {}, &Activity::seconds);
    out += heading(runs, run);
    out += fmt::format(
        "<p class=\"say\">Of {} s a step, {:.0f} % are {}.</p><table class=\"times\"><thead>"
        "<tr><th>activity<th>ms a step<th>share<th>lately<th></thead><tbody>",
        short_number(all.seconds / all.steps, 3), 100 * most->seconds / all.seconds, most->name);
    for (size_t i = 0; i < all.activities.size(); ++i) {
      const Activity& a = all.activities[i];
      const double share = a.seconds / all.seconds;
      out += fmt::format(
          "<tr><td>{}<td data-ms=\"{:.6g}\">{}<td>{:.1f} %<td>{:.1f} %<td>{}", a.name,
          1000 * a.seconds / all.steps, short_number(1000 * a.seconds / all.steps, 3), 100 * share,
          recent.seconds > 0 ? 100 * recent.activities[i].seconds / recent.seconds : 0.0,
          bar(share));
    }
    out += "</tbody></table>";
  }
  return out.empty() ? "" : "<h2>Where a step's time goes</h2>" + out;
}

std::string device_section(std::span<const ShownRun> runs) {
  std::string rows;
  for (const ShownRun& run : runs) {
    const Json& about = run.history->about();
    const Json names = about.value("devices", Json::array());
    for (const auto& [index, table] : run.history->devices()) {
      if (index < 0) {
        continue;
      }
      const auto cell = [&](std::string_view column, double scale, int digits) {
        const auto spread = spread_of(table, column);
        return !spread ? std::string("")
                       : fmt::format("{:.{}f} (at most {:.{}f})", spread->last * scale, digits,
                                     spread->high * scale, digits);
      };
      size_t throttled = 0;
      for (const double reasons : table.column("throttle")) {
        throttled += reasons > 0 ? 1 : 0;
      }
      const auto at = static_cast<size_t>(index);
      rows += fmt::format(
          "<tr><td>{}{}<td>{}<td>{}<td>{}<td>{}<td>{}",
          runs.size() > 1 ? html_text(run.name) + " " : "",
          html_text(names.is_array() && at < names.size() ? value_text(names[at])
                                                          : fmt::format("device {}", index)),
          cell("mem_used", 1.0 / (1 << 30), 1), cell("util", 1, 0), cell("temp_c", 1, 0),
          cell("power_w", 1, 0),
          throttled == 0 ? std::string("never")
                         : fmt::format("{:.0f} % of the samples",
                                       100.0 * static_cast<double>(throttled) /
                                           static_cast<double>(std::max<size_t>(1, table.rows()))));
    }
  }
  return rows.empty() ? ""
                      : "<h2>Devices</h2><table><thead><tr><th>device<th>memory, GiB<th>used, "
                        "%<th>temperature, &deg;C<th>power, W<th>slowed down</thead><tbody>" +
                            rows + "</tbody></table>";
}

std::string event_section(std::span<const ShownRun> runs) {
  std::string out;
  for (const ShownRun& run : runs) {
    if (!run.history->events().empty()) {
      out += heading(runs, run) + events_of(*run.history);
    }
    if (run.history->unreadable() > 0) {
      out += fmt::format("<p class=\"why\">{} line{} of the run's file cannot be read.</p>",
                         run.history->unreadable(), run.history->unreadable() == 1 ? "" : "s");
    }
  }
  return out.empty() ? "" : "<h2>What happened</h2>" + out;
}

// The same prompts before training and now, and everything between folded away.
std::string sample_section(std::span<const ShownRun> runs) {
  std::string out;
  for (const ShownRun& run : runs) {
    std::map<int64_t, std::vector<const RunSample*>> by_prompt;
    for (const RunSample& sample : run.history->samples()) {
      by_prompt[sample.index].push_back(&sample);
    }
    for (const auto& [index, samples] : by_prompt) {
      const RunSample& first = *samples.front();
      const RunSample& last = *samples.back();
      out += heading(runs, run);
      out +=
          fmt::format("<div class=\"sample\"><p class=\"prompt\">{}</p>", html_text(first.prompt));
      if (samples.size() > 1) {
        out += fmt::format("<div><h4>step {}</h4><pre>{}</pre></div>", with_commas(first.step),
                           html_text(first.text));
      }
      out += fmt::format("<div><h4>step {}</h4><pre>{}</pre></div>", with_commas(last.step),
                         html_text(last.text));
      if (!last.reference.empty()) {
        out += fmt::format("<div><h4>the data's answer</h4><pre>{}</pre></div>",
                           html_text(last.reference));
      }
      if (samples.size() > 2) {
        out += fmt::format("<details><summary>all {} steps</summary>", samples.size());
        for (const RunSample* sample : samples) {
          out += fmt::format("<h4>step {}</h4><pre>{}</pre>", with_commas(sample->step),
                             html_text(sample->text));
        }
        out += "</details>";
      }
      out += "</div>";
    }
  }
  return out.empty() ? "" : "<h2>What the model writes</h2>" + out;
}

std::string settings_section(std::span<const ShownRun> runs) {
  static const Json defaults = option_values(TrainOptions());
  std::string out;
  if (runs.size() > 1) {
    std::vector<std::string> keys;
    for (const ShownRun& run : runs) {
      const Json config = config_of(run);
      for (const auto& [key, value] : config.items()) {
        if (std::ranges::find(keys, key) == keys.end()) {
          keys.push_back(key);
        }
      }
    }
    std::string rows;
    for (const std::string& key : keys) {
      std::vector<std::string> values;
      for (const ShownRun& run : runs) {
        const Json config = config_of(run);
        values.push_back(config.contains(key) ? value_text(config[key]) : "");
      }
      if (std::ranges::any_of(values, [&](const std::string& v) { return v != values[0]; })) {
        rows += "<tr><td>" + html_text(key);
        for (const std::string& value : values) {
          rows += "<td>" + html_text(value);
        }
      }
    }
    if (!rows.empty()) {
      out =
          "<h2>What differs between the settings</h2><table class=\"differences\"><thead><tr>"
          "<th>setting";
      for (const ShownRun& run : runs) {
        out += "<th>" + html_text(run.name);
      }
      out += "</thead><tbody>" + rows + "</tbody></table>";
    }
    return out;
  }
  const Json config = runs.empty() ? Json::object() : config_of(runs[0]);
  std::string changed, same;
  for (const auto& [key, value] : config.items()) {
    const bool differs = !defaults.contains(key) || defaults[key] != value;
    (differs ? changed : same) +=
        fmt::format("<tr><td>{}<td>{}", html_text(key), html_text(value_text(value)));
  }
  if (changed.empty() && same.empty()) {
    return "";
  }
  return "<h2>Settings</h2><table><thead><tr><th>differs from the default<th>value</thead><tbody>" +
         changed + "</tbody></table><details><summary>the others</summary><table><tbody>" + same +
         "</tbody></table></details>";
}

namespace {

// An object as rows of two cells, nested ones with dots between the names.
void rows_of(const Json& value, const std::string& name, std::string& out) {
  if (value.is_object()) {
    for (const auto& [key, inner] : value.items()) {
      rows_of(inner, name.empty() ? key : name + "." + key, out);
    }
  } else {
    out += fmt::format("<tr><td>{}<td>{}", html_text(name), html_text(value_text(value)));
  }
}

std::string command_of(const RunHistory& run) {
  std::string command = "sft";
  const Json words = run.about().value("argv", Json::array());
  for (const Json& word : words) {
    command += " " + shell_word(value_text(word));
  }
  return command;
}

}  // namespace

std::string about_section(std::span<const ShownRun> runs, bool live) {
  std::string out;
  for (const ShownRun& run : runs) {
    const Json& about = run.history->about();
    if (about.empty()) {
      continue;
    }
    out += heading(runs, run) +
           fmt::format("<p>Command:</p><pre>{}</pre>", html_text(command_of(*run.history)));
    std::string rows;
    for (const char* key : {"model", "data", "world", "devices", "environment", "host", "version",
                            "id", "started", "resumed_from"}) {
      if (about.contains(key)) {
        rows_of(about[key], key, rows);
      }
    }
    for (const Json& last : {run.history->finish(), run.history->end()}) {
      if (last.is_object()) {
        for (const auto& [key, value] : last.items()) {
          if (key != "k" && key != "t") {
            rows_of(value, key, rows);
          }
        }
      }
    }
    out += "<table><tbody>" + rows + "</tbody></table>";
    const bool done = text_at(run.history->end(), "status") == "done";
    if (done && !live && !run.folder.empty()) {
      const std::string folder = shell_word(run.folder);
      out += fmt::format(
          "<p>Use it:</p><pre>sft generate --model_name_or_path {0} \"Hello!\"\n"
          "vllm serve {0}\npython -c 'from transformers import pipeline; "
          "print(pipeline(\"text-generation\", model=\"{0}\")(\"Hello!\"))'</pre>",
          html_text(folder));
    }
  }
  return out.empty() ? "" : "<h2>The run</h2>" + out;
}

}  // namespace sft
