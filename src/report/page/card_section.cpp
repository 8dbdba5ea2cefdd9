#include "report/page/card_section.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/strings.h"
#include "report/charts/text.h"
#include "report/page/report_files.h"
#include "report/page/run_facts.h"

namespace sft {

namespace {

// Settings that decide what was learned; those of the machine are nobody else's business.
constexpr std::array kMethod{"learning_rate",
                             "lr_scheduler_type",
                             "warmup_steps",
                             "warmup_ratio",
                             "optim",
                             "weight_decay",
                             "per_device_train_batch_size",
                             "gradient_accumulation_steps",
                             "num_train_epochs",
                             "max_steps",
                             "max_length",
                             "packing",
                             "assistant_only_loss",
                             "completion_only_loss",
                             "bf16",
                             "fp16",
                             "neftune_noise_alpha",
                             "label_smoothing_factor",
                             "use_peft",
                             "lora_r",
                             "lora_alpha",
                             "seed"};

// A name of the hub; a path of the user's machine says nothing to others.
bool is_public(const std::string& name) {
  return !name.empty() && name.front() != '/' && name.front() != '.' && name.front() != '~' &&
         std::ranges::count(name, '/') == 1 && name.find('\\') == std::string::npos;
}

std::string cell(std::string_view text) {
  std::string out;
  for (const char c : html_text(text)) {
    out += c == '|' ? "\\|" : c == '\n' ? " " : std::string(1, c);
  }
  return out;
}

}  // namespace

std::string card_section(const RunHistory& run) {
  const Json config = run.about().value("config", Json::object());
  const Json model = run.about().value("model", Json::object());
  std::string rows;
  const auto row = [&](std::string_view name, const std::string& value) {
    rows += fmt::format("| {} | {} |\n", name, cell(value));
  };
  if (const std::string name = text_at(model, "name"); is_public(name)) {
    row("base model", name);
  }
  if (const std::string name = text_at(config, "dataset_name"); is_public(name)) {
    row("data", name);
  }
  const bool adapter = config.contains("use_peft") && config["use_peft"] == true;
  row("method", adapter ? "supervised fine-tuning of an adapter (LoRA)"
                        : "supervised fine-tuning of all parameters");
  const auto finish = [&](const char* key) { return number_at(run.finish(), key); };
  const RunFacts facts = facts_of(run, run.last_time(), {});
  row("steps", with_commas(facts.step));
  if (const auto tokens = finish("num_tokens")) {
    row("tokens seen", with_commas(static_cast<long long>(*tokens)));
  } else if (const auto logged = run.logs().column("num_tokens"); !logged.empty()) {
    row("tokens seen", with_commas(static_cast<long long>(logged.back())));
  }
  if (const auto loss = finish("train_loss")) {
    row("mean training loss", short_number(*loss));
  }
  if (facts.loss) {
    row("last training loss", short_number(*facts.loss));
  }
  if (facts.last_eval) {
    row("last evaluation loss", short_number(*facts.last_eval));
    row("best evaluation loss",
        fmt::format("{} at step {}", short_number(*facts.best_eval), with_commas(facts.best_step)));
  }
  for (const char* name : kMethod) {
    const bool of_adapters = std::string_view(name).starts_with("lora_");
    if (config.contains(name) && !config[name].is_null() && (adapter || !of_adapters)) {
      row(name, config[name].is_string() ? config[name].get<std::string>() : to_text(config[name]));
    }
  }
  return fmt::format("\n## Training\n![loss]({})\n\n| | |\n|---|---|\n{}", kLossPicture, rows);
}

}  // namespace sft
