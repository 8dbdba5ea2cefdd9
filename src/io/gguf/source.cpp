#include "io/gguf/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/error.h"
#include "formats/convert.h"
#include "formats/ggml_blocks.h"
#include "io/gguf/config.h"
#include "io/gguf/tokenizer_files.h"

namespace sft {

namespace {

constexpr int64_t kGrain = int64_t{1} << 15;  // elements worth handing to another thread

const GgufType* majority_type(const GgufFile& file) {
  std::map<const GgufType*, int64_t> elements;
  for (const GgufTensor& t : file.tensors()) {
    elements[t.type] += t.elements();
  }
  const auto most =
      std::max_element(elements.begin(), elements.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == elements.end() ? find_gguf_type(0) : most->first;
}

DType dtype_of(const GgufType& type) {
  if (type.quantised) {
    return DType::f32;
  }
  return parse_dtype(type.name).value_or(DType::f32);
}

}  // namespace

GgufSource::GgufSource(std::string name, const fs::path& file)
    : GgufSource(std::move(name), file, file, nullptr) {}

GgufSource::GgufSource(std::string name, const fs::path& file, const fs::path& head,
                       std::function<void()> fetch)
    : ModelSource(std::move(name), file),
      file_(head),
      fetch_(std::move(fetch)),
      family_(find_gguf_family(file_)) {
  for (const GgufTensor& t : file_.tensors()) {
    const std::string hf = hf_tensor_name(family_, file_, t.name);
    if (!hf.empty()) {
      names_.push_back(hf);
      tensors_.emplace(hf, &t);
    }
  }
  main_type_ = majority_type(file_);
  stored_dtype_ = dtype_of(*main_type_);
  set_config(config_from_gguf(file_, family_, name_of(stored_dtype_)));
}

std::string GgufSource::format() const { return fmt::format("GGUF {}", main_type_->name); }

const GgufTensor& GgufSource::tensor(const std::string& name) const {
  const auto it = tensors_.find(name);
  if (it == tensors_.end()) {
    fail_missing(name);
  }
  return *it->second;
}

bool GgufSource::weights_are_here() const {
  const std::lock_guard lock(opening_);
  return !fetch_ || fetched_ != nullptr;
}

const std::byte* GgufSource::values(const GgufTensor& tensor) const {
  if (!fetch_) {
    return file_.raw(tensor).data();
  }
  const std::lock_guard lock(opening_);
  if (fetched_ == nullptr) {
    fetch_();
    fetched_ = std::make_unique<GgufFile>(path());
  }
  const GgufTensor* same = fetched_->find(tensor.name);
  if (same == nullptr || same->bytes != tensor.bytes) {
    throw Error("M315",
                fmt::format("{} has changed on the hub while it was fetched", path().string()))
        .hint("start again");
  }
  return fetched_->raw(*same).data();
}

Shape GgufSource::shape(const std::string& name) const { return Shape(tensor(name).shape); }

int64_t GgufSource::permuted_heads(const std::string& name) const {
  if (!family_.interleaved_rope) {
    return 0;
  }
  if (name.find(".self_attn.q_proj.") != std::string::npos) {
    return config()["num_attention_heads"].get<int64_t>();
  }
  const bool is_key = name.find(".self_attn.k_proj.") != std::string::npos;
  return is_key ? config()["num_key_value_heads"].get<int64_t>() : 0;
}

void GgufSource::read_f32(const std::string& name, ElementRange part, float* destination,
                          ThreadPool* pool) const {
  const GgufTensor& t = tensor(name);
  const GgufType& type = *t.type;
  const int64_t heads = permuted_heads(name);
  const bool whole = part.size() == t.elements();
  const bool in_blocks = part.begin % type.block == 0 && part.size() % type.block == 0;
  if (!whole && (heads > 0 || !in_blocks)) {
    std::vector<float> all(static_cast<size_t>(t.elements()));
    read_f32(name, {0, t.elements()}, all.data(), pool);
    std::copy_n(all.data() + part.begin, part.size(), destination);
    return;
  }
  if (heads > 0) {
    const int64_t width = t.shape.size() == 1 ? 1 : t.row_length();
    each_permuted_row(name, heads, pool, [&](int64_t row, const std::byte* bytes) {
      type.decode(bytes, width, destination + row * width);
    });
  } else {
    const std::byte* source = values(t) + part.begin / type.block * type.block_bytes;
    split_work(pool, part.size() / type.block, kGrain / type.block,
               [&](int64_t begin, int64_t end) {
                 type.decode(source + begin * type.block_bytes, (end - begin) * type.block,
                             destination + begin * type.block);
               });
  }
  if (family_.norms_plus_one && name.ends_with("norm.weight")) {
    std::for_each(destination, destination + part.size(), [](float& x) { x -= 1; });
  }
}

// The converter turned the two halves of each head into pairs: its row 2i + j is row j * d/2 + i of
// transformers. A bias is a column of rows of one.
void GgufSource::each_permuted_row(
    const std::string& name, int64_t heads, ThreadPool* pool,
    const std::function<void(int64_t row, const std::byte* bytes)>& each) const {
  const GgufTensor& t = tensor(name);
  const std::byte* source = values(t);
  const GgufType& type = *t.type;
  const int64_t width = t.shape.size() == 1 ? 1 : t.row_length();
  const int64_t rows = t.elements() / width;
  if (rows % heads != 0 || rows / heads % 2 != 0 || width % type.block != 0) {
    throw Error("M245", fmt::format("tensor \"{}\" of shape {} does not split into {} heads", name,
                                    shape(name).text(), heads))
        .at(path().string())
        .hint("the file is damaged; fetch or convert it again");
  }
  const int64_t half = rows / heads / 2;
  const int64_t row_bytes = width / type.block * type.block_bytes;
  split_work(pool, rows, std::max<int64_t>(1, kGrain / width), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t head = row / (2 * half);
      const int64_t j = row % (2 * half) / half;
      const int64_t i = row % half;
      each(row, source + (head * 2 * half + 2 * i + j) * row_bytes);
    }
  });
}

// Norms and the embedding are read as floats, and so is the head.
std::optional<DType> GgufSource::stored_type(const std::string& name) const {
  const DType type = tensor(name).type->dtype;
  return type == DType::f32 || name == "lm_head.weight" ? std::nullopt : std::optional(type);
}

// Blocks lie inside rows, so that rows can stand in another order.
bool GgufSource::read_packed(const std::string& name, Tensor& packed) const {
  const GgufTensor& t = tensor(name);
  if (t.type->dtype != packed.dtype || shape(name) != packed.shape) {
    return false;
  }
  if (const int64_t heads = permuted_heads(name); heads > 0) {
    const size_t row_bytes = packed.bytes() / static_cast<size_t>(packed.shape[0]);
    each_permuted_row(name, heads, nullptr, [&](int64_t row, const std::byte* bytes) {
      std::copy_n(bytes, row_bytes, packed.as<std::byte>() + static_cast<size_t>(row) * row_bytes);
    });
  } else {
    std::copy_n(values(t), packed.bytes(), packed.as<std::byte>());
  }
  return true;
}

std::string GgufSource::quantisation() const { return main_type_->quantised ? format() : ""; }

std::optional<std::string> GgufSource::file_text(const std::string& file) const {
  if (file == "config.json") {
    return to_text(config(), 2) + "\n";
  }
  if (file == "generation_config.json") {
    return to_text(generation_config_from_gguf(file_), 2) + "\n";
  }
  return gguf_tokenizer_file(file_, file);
}

}  // namespace sft
