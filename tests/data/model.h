// Tokenizers and templates of tests/golden/models, and preparing data with them in one call.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/json.h"
#include "data/dataset.h"
#include "support/paths.h"

namespace sft::test {

struct Model {
  Tokenizer tokenizer;
  ChatTemplate chat_template;
};

inline Model read_model(const std::filesystem::path& folder) {
  const Json config = read_json(folder / "tokenizer_config.json");
  return {Tokenizer::from_text(read_text(folder / "tokenizer.json"), config, "tokenizer.json"),
          ChatTemplate(read_text(folder / "chat_template.jinja"), config)};
}

inline Model golden_model(const std::string& name) {
  return read_model(std::filesystem::path(SFT_TEST_DIR) / "golden" / "models" / name);
}

inline DataOptions options_of(const Json& args, const std::filesystem::path& data) {
  DataOptions options;
  options.dataset_name = data.string();
  options.dataset_text_field = args.value("dataset_text_field", "text");
  options.packing = args.value("packing", false);
  options.padding_free = args.value("padding_free", false);
  options.packing_strategy = args.value("packing_strategy", "bfd");
  options.truncation_mode = args.value("truncation_mode", "keep_start");
  options.assistant_only_loss = args.value("assistant_only_loss", false);
  options.shuffle_dataset = args.value("shuffle_dataset", false);
  options.max_length = 1024;
  if (const auto given = args.find("max_length"); given != args.end()) {
    options.max_length = given->is_null() ? std::nullopt : std::optional(given->get<int64_t>());
  }
  if (args.contains("completion_only_loss")) {
    options.completion_only_loss = args["completion_only_loss"].get<bool>();
  }
  return options;
}

// What the logger was told, and one call to prepare.
struct Preparing {
  explicit Preparing(const std::string& model_name = "chatml", int threads = 1)
      : model(golden_model(model_name)), pool(threads) {}

  Prepared prepare(const DataOptions& options, Part part = Part::train, uint64_t seed = 42) {
    return prepare_dataset(options, part, context(seed));
  }
  DataContext context(uint64_t seed = 42) {
    return {model.tokenizer, with_template ? &model.chat_template : nullptr, pool, log, {}, seed};
  }

  Model model;
  ThreadPool pool;
  bool with_template = true;
  std::vector<std::string> said;
  Logger log{Logger::Level::details,
             [this](Logger::Level, std::string_view text) { said.emplace_back(text); }};
};

}  // namespace sft::test
