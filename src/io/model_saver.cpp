#include "io/model_saver.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <unordered_set>

#include "core/error.h"
#include "core/file_writer.h"
#include "io/joined_experts.h"
#include "io/model_card.h"
#include "io/safetensors_writer.h"
#include "io/saved_config.h"
#include "io/text_part.h"

namespace sft {

namespace {

constexpr const char* kEmbedding = "model.embed_tokens.weight";
constexpr const char* kHead = "lm_head.weight";
// What of a larger model is not its text part, as PEFT's exclude_modules takes it.
constexpr const char* kBesideText =
    R"(.*(vision_tower|audio_tower|embed_vision|embed_audio|multi_modal_projector|visual).*)";

void make_folder(const fs::path& folder) {
  std::error_code reason;
  fs::create_directories(folder, reason);
  if (reason || !fs::is_directory(folder)) {
    throw Error("S010", fmt::format("cannot make the folder {}: {}", folder.string(),
                                    reason ? reason.message() : "a file of that name is there"))
        .hint("choose an --output_dir that you may write to");
  }
}

// One save: what it reads, where it writes, what it has done.
class Saver {
 public:
  Saver(const fs::path& folder, const ModelSource& source, const SaveOptions& options)
      : folder_(folder), source_(source), options_(options) {}
  // Writes nothing.
  Saver(const ModelSource& source, const SaveOptions& options)
      : source_(source), options_(options), writes_(false) {}

  void weights(std::span<const StreamedTensor> weights, ThreadPool* pool);
  void adapter(std::span<const StreamedTensor> weights, const Json& config, ThreadPool* pool);
  void config();
  void generation_config();
  void tokenizer();
  void card();
  SaveReport report() { return std::move(report_); }

 private:
  void write(const std::string& file, const std::string& text) {
    if (!writes_) {
      return;
    }
    report_.files.push_back(write_counted(folder_ / file, text));
  }
  void write_edited(const std::string& file, const JsonEditor& editor) {
    write(file, editor.text());
    if (!editor.changed().empty()) {
      report_.changes.push_back(fmt::format("{}: {}", file, fmt::join(editor.changed(), ", ")));
    }
  }
  JsonEditor edit(const std::string& file, std::string text) const {
    return {std::move(text), (source_.path() / file).string()};
  }
  void copy(const std::string& file) {
    if (const auto text = source_.file_text(file)) {
      write(file, *text);
    }
  }
  void templates(const std::map<std::string, std::string>& all);
  void special_tokens(const JsonEditor& tokenizer);

  const fs::path folder_;
  const ModelSource& source_;
  const SaveOptions& options_;
  SavedFacts facts_;
  bool chat_ = false;
  bool writes_ = true;
  SaveReport report_;
};

// Which tensors go into the files: a head that is tied to the embedding does not.
void Saver::weights(std::span<const StreamedTensor> weights, ThreadPool* pool) {
  const Json& config = source_.config();
  const bool tied_source =
      !options_.untied && config.value("tie_word_embeddings", !source_.has(kHead));
  std::vector<StreamedTensor> kept;
  std::unordered_set<std::string> names;
  for (const StreamedTensor& t :
       join_experts({weights.begin(), weights.end()},
                    [&](const std::string& tensor) { return source_.has(tensor); })) {
    SFT_ASSERT(names.insert(t.name).second);
    if (t.name != kHead || !tied_source) {
      kept.push_back(t);
      kept.back().name = source_.stored_name(t.name);
    }
    if (t.name == kEmbedding) {
      facts_.vocab_size = t.shape[0];
    }
  }
  facts_.tied = tied_source || !names.contains(kHead);
  std::vector<std::string> left_out;
  for (const std::string& name : source_.names()) {
    if (!names.contains(name) && !(name == kHead && facts_.tied)) {
      left_out.push_back(name);
    }
  }
  if (!left_out.empty()) {
    report_.changes.push_back(
        fmt::format("weights: without {}{}", left_out.front(),
                    left_out.size() == 1 ? "" : fmt::format(" and {} more", left_out.size() - 1)));
  }
  std::ranges::move(source_.carried(), std::back_inserter(kept));
  report_.files =
      write_safetensors_shards(folder_, kept, options_.dtype, options_.max_shard_bytes, pool);
}

void Saver::adapter(std::span<const StreamedTensor> weights, const Json& config, ThreadPool* pool) {
  std::vector<StreamedTensor> named(weights.begin(), weights.end());
  Json written = config;
  if (source_.is_part()) {
    for (StreamedTensor& t : named) {
      t.name = adapter_name_in_whole(t.name);
    }
    if (written.value("exclude_modules", Json()).is_null()) {
      written["exclude_modules"] = kBesideText;  // layers there are called the same
    }
  }
  report_.files.push_back(
      write_safetensors(folder_ / "adapter_model.safetensors", named, DType::f32, pool));
  write("adapter_config.json", to_text(written, 2) + "\n");
}

void Saver::config() {
  JsonEditor editor = edit("config.json", source_.file_text("config.json").value_or("{}"));
  for (const auto& [key, value] : source_.overrides().items()) {
    set_in_text_part(editor, key, value);
  }
  edit_config(editor, options_, facts_);
  write_edited("config.json", editor);
}

void Saver::generation_config() {
  const auto text = source_.file_text("generation_config.json");
  Json fresh = Json::object();
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    if (source_.config().contains(key) && !source_.config()[key].is_null()) {
      fresh[key] = source_.config()[key];
    }
  }
  JsonEditor editor = edit("generation_config.json", text ? *text : to_text(fresh, 2) + "\n");
  edit_generation_config(editor, source_.config(), options_);
  write_edited("generation_config.json", editor);
}

void Saver::tokenizer() {
  const auto source_json = source_.file_text("tokenizer.json");
  const auto source_config = source_.file_text("tokenizer_config.json");
  if (options_.tokenizer_json) {
    write("tokenizer.json", *options_.tokenizer_json);
    if (options_.tokenizer_json != source_json) {
      report_.changes.emplace_back("tokenizer.json: tokens");
    }
  } else if (source_json) {
    write("tokenizer.json", *source_json);
  }
  for (const char* file : {"vocab.json", "merges.txt", "tokenizer.model", "added_tokens.json",
                           "processor_config.json", "preprocessor_config.json"}) {
    copy(file);
  }
  if (!source_json && !source_config && !options_.tokenizer_json) {
    return;
  }
  std::map<std::string, std::string> all = source_.chat_templates();
  if (options_.chat_template) {
    all = {{"default", *options_.chat_template}};
  }
  chat_ = all.contains("default");
  JsonEditor editor = edit("tokenizer_config.json", source_config.value_or("{}"));
  edit_tokenizer_config(editor, source_.config(), all, options_);
  write_edited("tokenizer_config.json", editor);
  templates(all);
  special_tokens(editor);
}

void Saver::templates(const std::map<std::string, std::string>& all) {
  for (const auto& [name, text] : all) {
    if (name == "default") {
      write("chat_template.jinja", text);
      if (options_.chat_template) {
        report_.changes.emplace_back("chat_template.jinja: the template used in training");
      }
    }
  }
}

void Saver::special_tokens(const JsonEditor& tokenizer) {
  const auto text = source_.file_text("special_tokens_map.json");
  if (!text) {
    write("special_tokens_map.json", to_text(special_tokens_map(tokenizer.json()), 2) + "\n");
    return;
  }
  JsonEditor editor = edit("special_tokens_map.json", *text);
  for (const std::string& key : tokenizer.changed()) {
    if (key == "eos_token" || key == "pad_token") {
      editor.set(key, tokenizer.json()[key]);
    }
  }
  write_edited("special_tokens_map.json", editor);
}

void Saver::card() {
  if (options_.model_card) {
    write("README.md", model_card(folder_, source_, chat_, options_));
  }
}

}  // namespace

namespace {

// Runs `save`; a setting of the wrong type is the source's fault.
template <class Save>
void naming_source(const ModelSource& source, const Save& save) {
  try {
    save();
  } catch (const Json::exception& e) {
    throw Error("M248", fmt::format("a setting in the JSON files of {} has the wrong type: {}",
                                    source.path().string(), e.what()))
        .hint("fetch the model's files again");
  }
}

}  // namespace

SaveReport save_model(const fs::path& folder, const ModelSource& source,
                      std::span<const StreamedTensor> weights, const SaveOptions& options,
                      ThreadPool* pool) {
  make_folder(folder);
  Saver saver(folder, source, options);
  naming_source(source, [&] {
    saver.weights(weights, pool);  // first: if the disk is full, the rest is left as it was
    saver.config();
    saver.generation_config();
    saver.tokenizer();
  });
  saver.card();
  sync_folder(folder);
  return saver.report();
}

SaveReport save_adapter(const fs::path& folder, const ModelSource& source, const Json& config,
                        std::span<const StreamedTensor> weights, const SaveOptions& options,
                        ThreadPool* pool) {
  make_folder(folder);
  Saver saver(folder, source, options);
  naming_source(source, [&] {
    saver.adapter(weights, config, pool);
    saver.tokenizer();
  });
  saver.card();
  sync_folder(folder);
  return saver.report();
}

void check_savable(const ModelSource& source) {
  const SaveOptions options;
  Saver saver(source, options);
  naming_source(source, [&] {
    saver.config();
    saver.generation_config();
    saver.tokenizer();
  });
}

}  // namespace sft
