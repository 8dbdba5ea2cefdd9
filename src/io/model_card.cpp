#include "io/model_card.h"

#include <fmt/format.h>

#include "core/strings.h"
#include "hub/cache.h"

namespace sft {

namespace {

// The line "license: x" between the first two lines "---" of a model card.
std::string license_in(const std::string& card) {
  bool inside = false;
  for (const std::string& line : split(card, '\n')) {
    if (trim(line) == "---") {
      if (inside) {
        break;
      }
      inside = true;
    } else if (inside && line.starts_with("license:")) {
      return std::string(trim(std::string_view(line).substr(8)));
    }
  }
  return "";
}

std::string linked(const std::string& id, const std::string& prefix) {
  return fmt::format("[{}](https://huggingface.co/{}{})", id, prefix, id);
}

}  // namespace

std::string model_card(const fs::path& folder, const ModelSource& source, bool chat,
                       const SaveOptions& options) {
  // A path of the user's machine is nobody else's business.
  std::error_code ignored;
  const bool from_hub = is_hub_id(source.name()) && !fs::exists(source.name(), ignored);
  const std::string base = !options.base_model.empty() ? options.base_model
                           : from_hub                  ? source.name()
                                                       : "";
  const std::string license = license_in(source.file_text("README.md").value_or(""));
  std::string datasets;
  for (const std::string& id : options.datasets) {
    datasets += is_hub_id(id) ? (datasets.empty() ? "" : ", ") + id : "";
  }
  std::string card = "---\n";
  card += base.empty() ? "" : fmt::format("base_model: {}\n", to_text(base));
  if (!datasets.empty()) {
    card += "datasets:\n";
    for (const std::string& id : split(datasets, ',')) {
      card += fmt::format("- {}\n", to_text(std::string(trim(id))));
    }
  }
  card += license.empty() ? "" : fmt::format("license: {}\n", license);
  card +=
      "library_name: transformers\npipeline_tag: text-generation\ntags:\n- sft\n"
      "- trl-compatible\n---\n\n";
  const std::string title = fs::absolute(folder).lexically_normal().filename().string();
  card += fmt::format("# {}\n\n", title.empty() ? "model" : title);
  card += fmt::format("{} fine-tuned with supervised examples{} by sft.cpp{}.\n\n",
                      base.empty() ? "A model" : linked(base, ""),
                      datasets.empty() ? "" : fmt::format(" from {}", datasets),
                      options.sft_version.empty() ? "" : " " + options.sft_version);
  card +=
      "```python\nfrom transformers import pipeline\n\n"
      "generate = pipeline(\"text-generation\", model=\".\")  # this folder\n";
  card += chat ? "answer = generate([{\"role\": \"user\", \"content\": \"Hello!\"}], "
                 "max_new_tokens=128)\n"
               : "answer = generate(\"Once upon a time\", max_new_tokens=128)\n";
  card += "print(answer[0][\"generated_text\"])\n```\n";
  return card;
}

}  // namespace sft
