#include "io/gguf/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "core/error.h"
#include "formats/convert.h"
#include "formats/ggml_blocks.h"
#include "formats/mxfp4.h"
#include "io/gguf/config.h"
#include "io/gguf/tokenizer_files.h"
#include "io/joined_experts.h"

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

// The filters of a convolution are published in three dimensions.
bool is_filter(std::string_view name) {
  return name.ends_with(".conv1d.weight") || name.ends_with(".conv.conv.weight");
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
  main_type_ = majority_type(file_);
  stored_dtype_ = dtype_of(*main_type_);
  set_config(config_from_gguf(file_, family_, name_of(stored_dtype_)));
  for (const GgufTensor& t : file_.tensors()) {
    for (const std::string& hf : hf_tensor_names(family_, file_, t)) {
      names_.push_back(hf);
      tensors_.emplace(hf, made_of(hf));
      if (const auto place = expert_place(hf); place && family_.experts.joined) {
        joined_.insert(place->tensor);
      }
    }
  }
}

GgufSource::Entry GgufSource::made_of(const std::string& name) const {
  Entry out;
  for (GgufPlace& place : gguf_places(family_, name)) {
    const GgufTensor* const tensor = file_.find(place.tensor);
    const bool of_many = place.expert >= 0 || place.turned;
    const bool stacked = !out.parts.empty() && place.turns == 1;
    if (tensor == nullptr || (of_many && tensor->shape.size() != 3) ||
        (place.parts > 1 && tensor->shape[1] % place.parts != 0) ||
        (stacked && (tensor->shape.size() != 2 || out.parts[0].tensor->shape.size() != 2 ||
                     tensor->shape[1] != out.parts[0].tensor->shape[1])) ||
        (!out.parts.empty() && !stacked && tensor->shape != out.parts[0].tensor->shape)) {
      throw Error("M245", fmt::format("tensor \"{}\" is missing, or has not the shape of {}",
                                      place.tensor, stacked ? "heads" : "experts"))
          .at(path().string())
          .hint("the file is damaged; fetch or convert it again");
    }
    out.parts.push_back({tensor, std::move(place)});
  }
  const GgufPlace& place = out.parts[0].place;
  std::vector<int64_t> shape = out.parts[0].tensor->shape;
  if (place.expert >= 0) {
    shape.erase(shape.begin());
    shape[0] /= place.parts;
  } else if (place.turned) {
    std::swap(shape[1], shape[2]);
  } else if (is_filter(name) && shape.size() == 2) {
    shape.insert(shape.begin() + 1, 1);
  }
  shape.back() *= place.turns;
  out.arrangement = arrangement_of(family_, config(), name, shape[0]);
  if (out.is_stacked()) {
    shape[0] += out.parts[1].tensor->shape[0];
    const bool whole = out.arrangement.rows.end() == shape[0];
    if (out.parts[0].tensor->shape[0] != out.arrangement.first_rows || !whole) {
      throw Error("M245", fmt::format("tensor \"{}\" of shape {} does not split into heads",
                                      place.tensor, Shape(out.parts[0].tensor->shape).text()))
          .at(path().string())
          .hint("the file is damaged; fetch or convert it again");
    }
  }
  out.shape = Shape(shape);
  return out;
}

std::string GgufSource::format() const { return fmt::format("GGUF {}", main_type_->name); }

const GgufSource::Entry& GgufSource::entry(const std::string& name) const {
  const auto it = tensors_.find(name);
  if (it == tensors_.end()) {
    fail_missing(name);
  }
  return it->second;
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

const std::byte* GgufSource::values(const Part& part) const {
  const GgufTensor& t = *part.tensor;
  if (part.place.expert < 0) {
    return values(t);
  }
  const int64_t number = part.place.expert * part.place.parts + part.place.part;
  return values(t) + t.bytes / static_cast<uint64_t>(t.shape[0] * part.place.parts) *
                         static_cast<uint64_t>(number);
}

Shape GgufSource::shape(const std::string& name) const { return entry(name).shape; }

void GgufSource::read_f32(const std::string& name, ElementRange part, float* destination,
                          ThreadPool* pool) const {
  const Entry& e = entry(name);
  if (!e.is_turned()) {
    read_rows(e, part, destination, pool);
    return to_published(e.arrangement.value, {destination, static_cast<size_t>(part.size())});
  }
  const std::lock_guard lock(turning_);
  const int64_t each = e.shape.elements() / e.shape[0];
  for (int64_t at = part.begin; at < part.end;) {
    const int64_t in_matrix = at % each;
    const int64_t n = std::min(part.end - at, each - in_matrix);
    const std::vector<float>& matrix = turned_matrix(name, at / each, pool);
    std::copy_n(matrix.data() + in_matrix, n, destination + (at - part.begin));
    at += n;
  }
}

// Blocks lie inside rows, so that rows can stand in another order.
template <class Take>
void GgufSource::each_row(const Entry& e, int64_t begin, int64_t end, const Take& take) const {
  const int64_t width = width_of(e);
  std::array<const std::byte*, 2> first{};
  for (size_t i = 0; i < e.parts.size(); ++i) {
    first[i] = values(e.parts[i]);
  }
  for (int64_t row = begin; row < end; ++row) {
    const int64_t stored = e.arrangement.rows.stored(row);
    const bool second = e.is_stacked() && stored >= e.arrangement.first_rows;
    const GgufType& type = *e.parts[second ? 1 : 0].tensor->type;
    const int64_t bytes = width / type.block * type.block_bytes;
    take(row, type,
         first[second ? 1 : 0] + (stored - (second ? e.arrangement.first_rows : 0)) * bytes);
  }
}

void GgufSource::read_rows(const Entry& e, ElementRange part, float* destination,
                           ThreadPool* pool) const {
  const AxisSwap &rows = e.arrangement.rows, &columns = e.arrangement.columns;
  if (!rows.any() && !columns.any()) {
    const GgufType& type = *e.parts[0].tensor->type;
    const std::byte* const source = values(e.parts[0]);
    const int64_t first = part.begin / type.block * type.block;
    const int64_t last = (part.end + type.block - 1) / type.block * type.block;
    std::vector<float> around;
    float* to = destination;
    if (first != part.begin || last != part.end) {
      around.resize(static_cast<size_t>(last - first));
      to = around.data();
    }
    split_work(pool, (last - first) / type.block, kGrain / type.block,
               [&](int64_t begin, int64_t end) {
                 type.decode(source + (first / type.block + begin) * type.block_bytes,
                             (end - begin) * type.block, to + begin * type.block);
               });
    if (!around.empty()) {
      std::copy_n(around.data() + (part.begin - first), part.size(), destination);
    }
    return;
  }
  const int64_t width = width_of(e);
  const int64_t first = part.begin / width;
  const int64_t last = (part.end + width - 1) / width;
  split_work(pool, last - first, std::max<int64_t>(1, kGrain / width),
             [&](int64_t begin, int64_t end) {
               std::vector<float> row(static_cast<size_t>(width));
               each_row(e, first + begin, first + end,
                        [&](int64_t r, const GgufType& type, const std::byte* bytes) {
                          type.decode(bytes, width, row.data());
                          const int64_t from = std::max(part.begin - r * width, int64_t{0});
                          const int64_t to = std::min(part.end - r * width, width);
                          for (int64_t c = from; c < to; ++c) {
                            destination[r * width + c - part.begin] =
                                row[static_cast<size_t>(columns.stored(c))];
                          }
                        });
             });
}

// A bias is a column of rows of one.
int64_t GgufSource::width_of(const Entry& e) const {
  const GgufTensor& t = *e.parts[0].tensor;
  const int64_t width = t.shape.size() == 1 ? 1 : t.row_length();
  const AxisSwap &rows = e.arrangement.rows, &columns = e.arrangement.columns;
  const int64_t count = e.shape.elements() / width;
  const bool uneven = family_.interleaved_rope && rows.any() && rows.end() != count;
  const bool in_blocks = std::ranges::all_of(
      e.parts, [&](const Part& part) { return width % part.tensor->type->block == 0; });
  if (uneven || rows.end() > count || columns.end() > width || !in_blocks) {
    throw Error("M245", fmt::format("tensor \"{}\" of shape {} does not split into heads", t.name,
                                    Shape(t.shape).text()))
        .at(path().string())
        .hint("the file is damaged; fetch or convert it again");
  }
  return width;
}

const std::vector<float>& GgufSource::turned_matrix(const std::string& name, int64_t expert,
                                                    ThreadPool* pool) const {
  if (turned_.name == name && turned_.expert == expert) {
    return turned_.values;
  }
  constexpr int64_t kTogether = 16;  // rows written at a time
  const Entry& e = entry(name);
  const int64_t out = e.shape[e.shape.rank() - 1];
  const int64_t in = e.shape.elements() / e.shape[0] / out;
  turned_ = {name, expert, std::vector<float>(static_cast<size_t>(in * out))};
  for (const Part& part : e.parts) {
    const GgufType& type = *part.tensor->type;
    const int64_t turns = part.place.turns, rows = out / turns;
    std::vector<float> stored(static_cast<size_t>(in * rows));
    if (in * rows % type.block != 0) {
      throw Error("M245", fmt::format("tensor \"{}\" does not split into blocks of {}",
                                      part.tensor->name, type.block))
          .at(path().string())
          .hint("the file is damaged; fetch or convert it again");
    }
    const std::byte* const source =
        values(*part.tensor) + expert * in * rows / type.block * type.block_bytes;
    split_work(pool, in * rows / type.block, kGrain / type.block, [&](int64_t begin, int64_t end) {
      type.decode(source + begin * type.block_bytes, (end - begin) * type.block,
                  stored.data() + begin * type.block);
    });
    split_work(pool, (in + kTogether - 1) / kTogether, 1, [&](int64_t begin, int64_t end) {
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t i = begin * kTogether; i < std::min(in, end * kTogether); ++i) {
          turned_.values[static_cast<size_t>(i * out + r * turns + part.place.turn)] =
              stored[static_cast<size_t>(r * in + i)];
        }
      }
    });
  }
  return turned_.values;
}

// Norms and the embedding are read as floats, and so are the head, what is stored through a
// function, and experts in blocks: products of groups read plain values, or MXFP4.
std::optional<DType> GgufSource::stored_type(const std::string& name) const {
  const Entry& e = entry(name);
  const DType type = e.parts[0].tensor->type->dtype;
  if (e.is_turned()) {
    const bool all = std::ranges::all_of(
        e.parts, [](const Part& p) { return p.tensor->type->dtype == DType::mxfp4; });
    return all ? std::optional(DType::mxfp4) : std::nullopt;
  }
  const bool mixed = e.is_stacked() && e.parts[1].tensor->type->dtype != type;
  const bool read = type == DType::f32 || type == DType::mxfp4 || name == "lm_head.weight" ||
                    mixed || e.arrangement.columns.any() || e.arrangement.value != StoredAs::same ||
                    (e.parts[0].place.expert >= 0 && is_packed(type));
  return read ? std::nullopt : std::optional(type);
}

bool GgufSource::read_packed(const std::string& name, Tensor& packed) const {
  const Entry& e = entry(name);
  if (stored_type(name) != packed.dtype || e.shape != packed.shape) {
    return false;
  }
  if (packed.dtype == DType::mxfp4) {
    read_mxfp4(e, packed);
    return true;
  }
  auto* const to = packed.as<std::byte>();
  if (!e.arrangement.rows.any()) {
    std::copy_n(values(e.parts[0]), packed.bytes(), to);
    return true;
  }
  const int64_t rows = e.shape.elements() / width_of(e);
  const size_t row_bytes = packed.bytes() / static_cast<size_t>(rows);
  each_row(e, 0, rows, [&](int64_t row, const GgufType&, const std::byte* bytes) {
    std::copy_n(bytes, row_bytes, to + static_cast<size_t>(row) * row_bytes);
  });
  return true;
}

void GgufSource::read_mxfp4(const Entry& e, Tensor& packed) const {
  const int64_t in = e.shape[1], out = e.shape[2];
  auto* const codes = packed.as<uint8_t>();
  uint8_t* const exponents = codes + scales_at(packed.dtype, packed.shape);
  for (const Part& part : e.parts) {
    const auto* block = reinterpret_cast<const uint8_t*>(values(*part.tensor));
    for (int64_t row = 0; row < e.shape[0] * out / part.place.turns; ++row) {
      const int64_t at = (row * part.place.turns + part.place.turn) * in / kMxfp4Block;
      for (int64_t i = 0; i < in / kMxfp4Block; ++i, block += kGgmlMxfp4Bytes) {
        exponents[at + i] = *block;
        mxfp4_from_ggml(block + 1, codes + (at + i) * (kMxfp4Block / 2));
      }
    }
  }
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
