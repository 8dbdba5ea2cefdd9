#include "io/hf_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
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

DType majority_dtype(const SafetensorsFolder& weights, const PackedTensors& packed) {
  std::array<int64_t, 3> elements{};  // f32, f16, bf16
  for (const std::string& name : weights.names()) {
    if (packed.find(name) != nullptr || packed.is_beside(name)) {
      continue;
    }
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
  if (auto part = text_part(config())) {
    is_part_ = true;
    set_config(std::move(*part));
  }
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
    weights_ = std::make_unique<Weights>(path(), says_tied(), is_part_);
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

HfSource::Weights::Weights(const fs::path& folder, bool tied, bool part)
    : files(folder), packed(files) {
  const auto& in_files = files.names();
  const bool bare = files.find(kBareName).has_value() &&
                    std::none_of(in_files.begin(), in_files.end(),
                                 [](const auto& name) { return name.starts_with(kPrefix); });
  text_names = TextNames(part && std::ranges::any_of(in_files, TextNames::is_outside));
  for (const std::string& name : in_files) {
    const std::string published = packed.published_name(name);
    const std::string text = part   ? TextNames::text(published)
                             : bare ? kPrefix + published
                                    : published;
    if (text.empty()) {
      if (packed.find(name) != nullptr) {
        throw Error("M243",
                    fmt::format("\"{}\", which is beside the text model, is quantised", name))
            .at(folder.string())
            .hint("give the unquantised model this one was made from");
      }
      beside.push_back(name);
      continue;
    }
    if (packed.is_beside(name)) {
      continue;
    }
    names.push_back(text);
    stored.emplace(names.back(), name);
  }
  // A tied model with nothing but a head: the head is its embedding too, as in transformers.
  if (tied && stored.contains(kHead) && !stored.contains(kEmbedding)) {
    names.emplace_back(kEmbedding);
    stored.emplace(kEmbedding, stored.at(kHead));
  }
  dtype = majority_dtype(files, packed);
}

void HfSource::Weights::read(const std::string& name, ElementRange part, float* destination,
                             ThreadPool* pool) const {
  if (packed.find(name) != nullptr) {
    packed.read_f32(name, part, destination, pool);
    return;
  }
  const SafetensorsFolder::Entry found = *files.find(name);
  found.file->read_f32(*found.tensor, part, destination, pool);
}

void HfSource::check_config() {
  const std::string file = (path() / "config.json").string();
  if (!config().is_object()) {
    throw Error("M248", fmt::format("{} is not a JSON object", file))
        .hint("fetch the model's files again");
  }
  quantisation_ = ConfigQuantisation(config(), name(), file);
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
  if (packed.find(stored.at(kHead)) != nullptr) {
    return true;
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

std::optional<ExpertPlace> HfSource::joined_place(const std::string& name) const {
  const Weights& w = weights();
  if (w.stored.contains(name)) {
    return std::nullopt;
  }
  auto place = expert_place(name);
  const auto joined = place ? w.stored.find(place->tensor) : w.stored.end();
  return joined != w.stored.end() && w.packed.find(joined->second) == nullptr &&
                 place->shape_in(shape(place->tensor))
             ? place
             : std::nullopt;
}

bool HfSource::has(const std::string& name) const {
  return weights().stored.contains(name) || joined_place(name).has_value();
}

SafetensorsFolder::Entry HfSource::entry(const std::string& name) const {
  const Weights& w = weights();
  const auto place = joined_place(name);
  const auto it = w.stored.find(place ? place->tensor : name);
  if (it == w.stored.end()) {
    fail_missing(name);
  }
  return *w.files.find(it->second);
}

Shape HfSource::shape(const std::string& name) const {
  if (const auto place = joined_place(name)) {
    return *place->shape_in(shape(place->tensor));
  }
  const StoredTensor& t = *entry(name).tensor;
  if (const PackedTensors::Entry* const packed = weights().packed.find(t.name)) {
    return packed->shape;
  }
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
  const auto place = joined_place(name);
  const int64_t first = place ? place->index * shape(name).elements() : 0;
  weights().read(entry(name).tensor->name, {first + part.begin, first + part.end}, destination,
                 pool);
}

std::string HfSource::stored_name(const std::string& name) const {
  return is_part_ ? weights().text_names.stored(name) : name;
}

namespace {

// Any type of a value's bytes.
DType type_of_size(size_t bytes) {
  return bytes == 8 ? DType::i64 : bytes == 4 ? DType::f32 : bytes == 2 ? DType::bf16 : DType::u8;
}

}  // namespace

std::vector<StreamedTensor> HfSource::carried() const {
  std::vector<StreamedTensor> out;
  for (const std::string& name : weights().beside) {
    const SafetensorsFolder::Entry found = *weights().files.find(name);
    const std::span<const std::byte> bytes = found.file->raw(*found.tensor);
    // In bytes, whatever their type is: they are not read. A scalar has no shape to be spelled.
    const bool scalar = found.tensor->shape.empty();
    StreamedTensor tensor{name, scalar ? type_of_size(bytes.size()) : DType::u8,
                          scalar ? Shape{} : Shape{static_cast<int64_t>(bytes.size())},
                          [bytes](uint64_t begin, std::span<std::byte> into) {
                            std::memcpy(into.data(), bytes.data() + begin, into.size());
                          }};
    tensor.spelling = found.tensor->dtype;
    tensor.spelled_shape = found.tensor->shape;
    out.push_back(std::move(tensor));
  }
  return out;
}

std::string HfSource::format() const {
  return quantisation().empty() ? "safetensors" : "safetensors, " + quantisation();
}

std::string HfSource::quantisation() const { return quantisation_.words(); }

std::optional<DType> HfSource::stored_type(const std::string& name) const {
  if (weights_are_here()) {
    const PackedTensors::Entry* const packed = weights().packed.find(entry(name).tensor->name);
    return packed == nullptr ? std::nullopt : std::optional(packed->type);
  }
  return quantisation_.type_of(name);
}

bool HfSource::read_packed(const std::string& name, Tensor& packed) const {
  const StoredTensor& t = *entry(name).tensor;
  const PackedTensors::Entry* const found = weights().packed.find(t.name);
  if (found != nullptr && found->type == packed.dtype) {
    weights().packed.read(t.name, packed);
    return true;
  }
  if (packed.dtype == DType::f8_blocks || packed.dtype == DType::mxfp4) {
    throw Error("M274", fmt::format("config.json says that tensor \"{}\" is quantised ({}), and it "
                                    "is stored as {}",
                                    name, name_of(packed.dtype), t.dtype))
        .at(entry(name).file->path().string())
        .hint("config.json and the weights are of different models: fetch both again");
  }
  return false;
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
