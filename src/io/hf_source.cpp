#include "io/hf_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "formats/convert.h"
#include "io/model_files.h"
#include "io/model_text.h"

namespace sft {

namespace {

// A bare model (no head) may have been saved without the prefix that its full model gives it.
constexpr const char* kPrefix = "model.";
constexpr const char* kBareName = "embed_tokens.weight";
constexpr const char* kEmbedding = "model.embed_tokens.weight";
constexpr const char* kHead = "lm_head.weight";
constexpr const char* kTied = "tie_word_embeddings";

DType majority_dtype(const SafetensorsFolder& weights) {
  std::array<int64_t, 3> elements{};  // f32, f16, bf16
  for (const std::string& name : weights.names()) {
    const StoredTensor& t = *weights.find(name)->tensor;
    const auto dtype = parse_dtype(t.dtype);
    if (t.shape.size() >= 2 && dtype && is_weight_dtype(*dtype)) {
      elements[static_cast<size_t>(*dtype)] += t.elements();
    }
  }
  const auto most = std::max_element(elements.begin(), elements.end());
  return static_cast<DType>(most - elements.begin());
}

}  // namespace

static_assert(static_cast<int>(DType::f32) == 0 && static_cast<int>(DType::f16) == 1 &&
              static_cast<int>(DType::bf16) == 2);

HfSource::HfSource(std::string name, const fs::path& folder, std::function<void()> fetch)
    : ModelSource(std::move(name), folder), fetch_(std::move(fetch)) {
  for (const char* file : kModelTexts) {
    if (auto text = model_text(folder, file)) {
      texts_.emplace(file, std::move(*text));
    }
  }
  const std::string file = (folder / "config.json").string();
  set_config(parse_json(file_text("config.json").value_or(""), file));
  check_config();
  if (!fetch_) {
    settle_head();
  }
}

const HfSource::Weights& HfSource::weights() const {
  const std::lock_guard lock(opening_);
  if (weights_ == nullptr) {
    if (fetch_) {
      fetch_();
    }
    weights_ = std::make_unique<Weights>(path(), says_tied());
    if (fetch_ && says_tied() && weights_->head_differs()) {
      throw Error("M252", fmt::format("{} says {}, but its {} differs from the embedding", name(),
                                      kTied, kHead))
          .at(path().string())
          .hint(fmt::format("copy the model into a folder of your own and give that: it is then "
                            "trained with both, as in transformers: hf download {} --local-dir "
                            "model",
                            name()));
    }
  }
  return *weights_;
}

HfSource::Weights::Weights(const fs::path& folder, bool tied) : files(folder) {
  const auto& in_files = files.names();
  const bool bare = files.find(kBareName).has_value() &&
                    std::none_of(in_files.begin(), in_files.end(),
                                 [](const auto& name) { return name.starts_with(kPrefix); });
  for (const std::string& name : in_files) {
    names.push_back(bare ? kPrefix + name : name);
    stored.emplace(names.back(), name);
  }
  // A tied model with nothing but a head: the head is its embedding too, as in transformers.
  if (tied && stored.contains(kHead) && !stored.contains(kEmbedding)) {
    names.emplace_back(kEmbedding);
    stored.emplace(kEmbedding, stored.at(kHead));
  }
  dtype = majority_dtype(files);
}

void HfSource::check_config() const {
  const std::string file = (path() / "config.json").string();
  if (!config().is_object()) {
    throw Error("M248", fmt::format("{} is not a JSON object", file))
        .hint("fetch the model's files again");
  }
  for (const char* key : {"quantization_config", "compression_config"}) {
    if (config().contains(key) && !config()[key].is_null()) {
      const Json& q = config()[key];
      const Json method =
          q.is_object() && q.contains("quant_method") ? q["quant_method"] : Json("?");
      throw Error("M243", fmt::format("{} is already quantised (\"{}\" has quant_method {}); "
                                      "training starts from plain float weights",
                                      name(), key, to_text(method)))
          .at(file)
          .hint("give the unquantised model this one was made from");
    }
  }
}

bool HfSource::says_tied() const { return config().contains(kTied) && config()[kTied] == true; }

// A head that differs from the embedding is not tied to it, whatever config.json says, as
// transformers settles it.
void HfSource::settle_head() {
  const Weights& w = weights();
  if ((says_tied() || !config().contains(kTied)) && w.head_differs()) {
    Json settled = config();
    settled[kTied] = false;
    set_config(std::move(settled));
  }
}

bool HfSource::Weights::head_differs() const {
  constexpr int64_t kPiece = int64_t{1} << 20;
  if (!stored.contains(kHead) || !stored.contains(kEmbedding)) {
    return false;
  }
  const auto head = *files.find(stored.at(kHead));
  const auto embedding = *files.find(stored.at(kEmbedding));
  if (head.tensor->shape != embedding.tensor->shape) {
    return true;
  }
  const int64_t elements = head.tensor->elements();
  std::vector<float> a(static_cast<size_t>(std::min(kPiece, elements))), b(a.size());
  for (int64_t begin = 0; begin < elements; begin += kPiece) {
    const ElementRange part{begin, std::min(begin + kPiece, elements)};
    head.file->read_f32(*head.tensor, part, a.data(), nullptr);
    embedding.file->read_f32(*embedding.tensor, part, b.data(), nullptr);
    if (!std::equal(a.begin(), a.begin() + (part.end - part.begin), b.begin())) {
      return true;
    }
  }
  return false;
}

SafetensorsFolder::Entry HfSource::entry(const std::string& name) const {
  const Weights& w = weights();
  const auto it = w.stored.find(name);
  if (it == w.stored.end()) {
    fail_missing(name);
  }
  return *w.files.find(it->second);
}

Shape HfSource::shape(const std::string& name) const {
  const StoredTensor& t = *entry(name).tensor;
  if (t.shape.size() > Shape::kMaxRank) {
    throw Error("M245", fmt::format("tensor \"{}\" has {} dimensions, at most {} are supported",
                                    name, t.shape.size(), Shape::kMaxRank))
        .at(entry(name).file->path().string())
        .hint("this is not a text model of a supported family");
  }
  return Shape(t.shape);
}

void HfSource::read_f32(const std::string& name, ElementRange part, float* destination,
                        ThreadPool* pool) const {
  const auto found = entry(name);
  found.file->read_f32(*found.tensor, part, destination, pool);
}

std::optional<std::string> HfSource::file_text(const std::string& file) const {
  if (const auto read = texts_.find(file); read != texts_.end()) {
    return read->second;
  }
  return model_text(path(), file);
}

std::map<std::string, std::string> HfSource::additional_templates() const {
  return templates_beside(path());
}

}  // namespace sft
