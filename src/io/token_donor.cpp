#include "io/token_donor.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <vector>

#include "core/error.h"
#include "io/json_edit.h"
#include "io/text_part.h"
#include "text/added_token_list.h"
#include "text/tokenizer.h"

namespace sft {

namespace {

constexpr int64_t kMultiple = 64;
constexpr const char* kTokenizer = "tokenizer.json";
constexpr const char* kTokenizerConfig = "tokenizer_config.json";

// A model whose vocabulary has another size, and some of whose files have other texts.
class ResizedSource : public ModelSource {
 public:
  ResizedSource(std::unique_ptr<ModelSource> model, int64_t vocab, Json config,
                std::map<std::string, std::string> files, std::vector<int64_t> added)
      : ModelSource(model->name(), model->path()),
        model_(std::move(model)),
        vocab_(vocab),
        files_(std::move(files)),
        added_(std::move(added)) {
    set_config(std::move(config));
  }

  std::string format() const override { return model_->format(); }
  std::vector<int64_t> added_tokens() const override { return added_; }
  // For each table: a new one of normal or uniform numbers, then the new rows, of normal numbers,
  // which come in blocks of 16.
  uint64_t numbers_drawn() const override {
    uint64_t drawn = 0;
    for (const char* table : {"model.embed_tokens.weight", "lm_head.weight"}) {
      const bool tied = config().value("tie_word_embeddings", false);
      if (!has(table) || (tied && std::string_view(table) == "lm_head.weight")) {
        continue;
      }
      const Shape before = model_->shape(table);
      if (vocab_ > before[0]) {
        const int64_t rows = (vocab_ - before[0]) * before[1];
        drawn += static_cast<uint64_t>(vocab_ * before[1] + rows + (rows % 16 == 0 ? 0 : 16));
      }
    }
    return drawn;
  }
  bool is_part() const override { return model_->is_part(); }
  std::string stored_name(const std::string& name) const override {
    return model_->stored_name(name);
  }
  std::vector<StreamedTensor> carried() const override { return model_->carried(); }
  bool weights_are_here() const override { return model_->weights_are_here(); }
  const std::vector<std::string>& names() const override { return model_->names(); }
  bool has(const std::string& name) const override { return model_->has(name); }
  DType stored_dtype() const override { return model_->stored_dtype(); }

  Shape shape(const std::string& name) const override {
    const Shape own = model_->shape(name);
    return has_a_row_a_token(name) ? Shape{vocab_, own[1]} : own;
  }

  using ModelSource::read_f32;
  void read_f32(const std::string& name, ElementRange part, float* destination,
                ThreadPool* pool) const override {
    const int64_t there =
        has_a_row_a_token(name) ? std::min(model_->shape(name).elements(), part.end) : part.end;
    if (there > part.begin) {
      model_->read_f32(name, {part.begin, there}, destination, pool);
    }
    if (there < part.end) {
      const std::vector<float>& mean = mean_row(name, pool);
      for (int64_t i = std::max(there, part.begin); i < part.end; ++i) {
        destination[i - part.begin] = mean[static_cast<size_t>(i) % mean.size()];
      }
    }
  }

  std::optional<std::string> file_text(const std::string& file) const override {
    const auto found = files_.find(file);
    return found != files_.end() ? std::optional(found->second) : model_->file_text(file);
  }

 private:
  static bool has_a_row_a_token(const std::string& name) {
    return name == "model.embed_tokens.weight" || name == "lm_head.weight";
  }

  const std::vector<float>& mean_row(const std::string& name, ThreadPool* pool) const {
    const std::scoped_lock lock(mutex_);
    std::vector<float>& mean = means_[name];
    if (mean.empty()) {
      constexpr int64_t kRows = 1024;  // at a time
      const Shape own = model_->shape(name);
      std::vector<double> sum(static_cast<size_t>(own[1]), 0.0);
      std::vector<float> rows(static_cast<size_t>(kRows * own[1]));
      for (int64_t row = 0; row < own[0]; row += kRows) {
        const int64_t end = std::min(row + kRows, own[0]);
        model_->read_f32(name, {row * own[1], end * own[1]}, rows.data(), pool);
        for (size_t i = 0; i < static_cast<size_t>((end - row) * own[1]); ++i) {
          sum[i % sum.size()] += rows[i];
        }
      }
      for (const double x : sum) {
        mean.push_back(static_cast<float>(x / static_cast<double>(own[0])));
      }
    }
    return mean;
  }

  const std::unique_ptr<ModelSource> model_;
  const int64_t vocab_;
  const std::map<std::string, std::string> files_;
  const std::vector<int64_t> added_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, std::vector<float>> means_;
};

// The entries that a tokenizer's list of added tokens gets.
class NewTokens {
 public:
  explicit NewTokens(const Tokenizer& own) : own_(own), next_(own.vocab_size()) {}

  bool lacks(const std::string& content) const {
    return !own_.id_of(content) && !ids_.contains(content);
  }
  void add(Json entry) {
    ids_[entry["content"].get<std::string>()] = next_;
    entry["id"] = next_++;
    entries_.push_back(std::move(entry));
  }
  // Tokens for the ids up to `vocab` that no other has.
  void fill(int64_t vocab) {
    for (int i = 0; next_ < vocab; ++i) {
      if (const std::string content = fmt::format("<extra_id_{}>", i); lacks(content)) {
        add({{"id", 0},
             {"content", content},
             {"single_word", false},
             {"lstrip", false},
             {"rstrip", false},
             {"normalized", true},
             {"special", false}});
      }
    }
  }
  std::optional<int64_t> id_of(const std::string& content) const {
    const auto found = ids_.find(content);
    const auto own = own_.id_of(content);
    return found != ids_.end() ? found->second
                               : (own ? std::optional<int64_t>(*own) : std::nullopt);
  }
  int64_t next() const { return next_; }
  const Json& entries() const { return entries_; }

 private:
  const Tokenizer& own_;
  int64_t next_;
  std::map<std::string, int64_t> ids_;
  Json entries_ = Json::array();
};

std::string edited(const std::string& text, const char* name, const char* key, const Json& value) {
  JsonEditor editor(text, name);
  editor.set(key, value);
  return editor.text();
}

// tokenizer_config.json lists the added tokens once more, by id, where transformers 4 wrote it.
std::string config_with(const std::string& text, const NewTokens& more, const std::string& eos) {
  JsonEditor editor(text, kTokenizerConfig);
  if (editor.has("added_tokens_decoder") && !more.entries().empty()) {
    Json all = editor.json()["added_tokens_decoder"];
    for (Json entry : more.entries()) {
      const std::string id = std::to_string(entry["id"].get<int64_t>());
      entry.erase("id");
      all[id] = std::move(entry);
    }
    editor.set("added_tokens_decoder", all);
  }
  if (!eos.empty()) {
    editor.set("eos_token", eos);
  }
  return editor.text();
}

}  // namespace

DonatedModel with_tokens_of(std::unique_ptr<ModelSource> model, const TokenDonor& donor) {
  const auto json = model->file_text(kTokenizer);
  if (!json) {
    throw Error("M250", fmt::format("{} has no {}", model->path().string(), kTokenizer))
        .hint("use a model folder that has one; transformers writes it with save_pretrained");
  }
  const std::string config_text = model->file_text(kTokenizerConfig).value_or("{}");
  const Tokenizer own =
      Tokenizer::from_text(*json, parse_json(config_text, kTokenizerConfig), model->name());
  const Tokenizer other =
      Tokenizer::from_text(donor.tokenizer_json, donor.tokenizer_config, donor.name);

  NewTokens more(own);
  for (const Json& entry : added_token_list(donor.tokenizer_json, donor.name)) {
    if (more.lacks(entry["content"].get<std::string>())) {
      more.add(entry);
    }
  }
  DonatedModel out{.source = nullptr,
                   .tokens = static_cast<int64_t>(more.entries().size()),
                   .eos = more.id_of(other.eos_token()) ? other.eos_token() : "",
                   .vocab_before = model->config().value("vocab_size", int64_t{0}),
                   .vocab_after = (more.next() + kMultiple - 1) / kMultiple * kMultiple};
  more.fill(out.vocab_after);

  std::map<std::string, std::string> files;
  files[kTokenizer] = with_added_tokens(*json, more.entries(), model->name());
  files[kTokenizerConfig] = config_with(config_text, more, out.eos);
  JsonEditor config(model->file_text("config.json").value_or("{}"), "config.json");
  set_in_text_part(config, "vocab_size", out.vocab_after);
  Json changed = model->config();
  changed["vocab_size"] = out.vocab_after;
  if (!out.eos.empty()) {
    const int64_t eos = *more.id_of(out.eos);
    config.set("eos_token_id", eos);
    changed["eos_token_id"] = eos;
    if (const auto text = model->file_text("generation_config.json")) {
      files["generation_config.json"] =
          edited(*text, "generation_config.json", "eos_token_id", eos);
    }
    if (const auto text = model->file_text("special_tokens_map.json")) {
      files["special_tokens_map.json"] =
          edited(*text, "special_tokens_map.json", "eos_token", out.eos);
    }
  }
  files["config.json"] = config.text();
  std::vector<int64_t> added;
  for (const Json& entry : more.entries()) {
    added.push_back(entry["id"]);
  }
  out.source = std::make_unique<ResizedSource>(
      std::move(model), out.vocab_after, std::move(changed), std::move(files), std::move(added));
  return out;
}

std::unique_ptr<ModelSource> with_vocabulary(std::unique_ptr<ModelSource> model, int64_t vocab,
                                             const fs::path& adapter) {
  std::map<std::string, std::string> files;
  for (const char* file :
       {kTokenizer, kTokenizerConfig, "special_tokens_map.json", "chat_template.jinja"}) {
    if (is_there(adapter / file)) {
      files[file] = read_text(adapter / file);
    }
  }
  JsonEditor config(model->file_text("config.json").value_or("{}"), "config.json");
  set_in_text_part(config, "vocab_size", vocab);
  files["config.json"] = config.text();
  Json changed = model->config();
  changed["vocab_size"] = vocab;
  return std::make_unique<ResizedSource>(std::move(model), vocab, std::move(changed),
                                         std::move(files), std::vector<int64_t>());
}

}  // namespace sft
