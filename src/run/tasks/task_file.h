// A task in the terms of lm-evaluation-harness: a YAML file that says which rows are asked what,
// and how the answers are scored. Used by `sft eval --tasks`.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"

namespace sft {

struct TaskMetric {
  std::string name;  // acc, acc_norm, acc_bytes, exact_match, perplexity
  // Of exact_match.
  bool ignore_case = false, ignore_punctuation = false, ignore_numbers = false;
  std::vector<std::string> regexes_to_ignore{};
};

// What is made of an answer before it is scored.
struct TaskFilter {
  std::string function;  // regex, lowercase, uppercase, remove_whitespace, take_first
  std::string pattern = R"(#### (\-?[0-9\.\,]+))";
  int64_t group_select = 0;
  std::string fallback = "[invalid]";
};
struct TaskFilters {
  std::string name = "none";
  std::vector<TaskFilter> filters{};
};

struct TaskFile {
  enum class Output { multiple_choice, loglikelihood, generate_until };

  std::string file;  // for errors
  std::string task, alias;
  Json version = 1.0;
  Output output = Output::generate_until;
  // Data.
  std::string dataset_path, dataset_name;
  std::string data_dir;
  Json data_files;  // null, a file, a list, or {split: files}
  std::string split;
  std::string fewshot_split;
  int64_t num_fewshot = 0;
  // What is asked: the name of a column, or a template.
  std::string doc_to_text;
  Json doc_to_target, doc_to_choice;  // text; or a number, or a list
  std::string description, gen_prefix;
  std::string target_delimiter = " ", fewshot_delimiter = "\n\n";
  // Scores.
  std::vector<TaskMetric> metrics;
  std::vector<TaskFilters> filters;
  // Answers.
  std::vector<std::string> until;
  int64_t max_gen_toks = 256;
  bool do_sample = false;
  double temperature = 1.0;

  Json config;  // as it was read

  // C240 for a key, a value or a kind of task that is not read, with the place.
  static TaskFile read(const std::filesystem::path& file);
  // The same for several, each of which has a name of its own.
  static std::vector<TaskFile> read_all(const std::vector<std::string>& files);
};

const char* name_of(TaskFile::Output output);

}  // namespace sft
