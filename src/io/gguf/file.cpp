#include "io/gguf/file.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "core/lfs_pointer.h"
#include "formats/ggml_blocks.h"
#include "io/gguf/cursor.h"
#include "io/gguf/errors.h"

namespace sft {

namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint32_t kMaxDims = 4;
constexpr uint64_t kMaxAlignment = uint64_t{1} << 20;

void read_magic(GgufCursor& cursor) {
  if (cursor.left() < 24 || cursor.number<uint32_t>() != kMagic) {
    throw Error(kNotGguf, fmt::format("{} is not a GGUF file", cursor.file()))
        .hint("give a .gguf file, or a Hugging Face model folder");
  }
  const auto version = cursor.number<uint32_t>();
  if (version != 2 && version != 3) {
    const bool big_endian = __builtin_bswap32(version) <= 3;
    throw Error(kGgufVersion,
                fmt::format("{} is a GGUF file of version {}, expected 2 or 3{}", cursor.file(),
                            version, big_endian ? " (it is big-endian)" : ""))
        .hint("convert the model again with a current converter");
  }
}

GgufTensor read_tensor_info(GgufCursor& cursor) {
  GgufTensor t;
  t.name = std::string(cursor.string());
  const auto n_dims = cursor.number<uint32_t>();
  if (n_dims > kMaxDims) {
    cursor.fail("M224", fmt::format("tensor \"{}\" has {} dimensions, at most 4 are possible",
                                    t.name, n_dims));
  }
  uint64_t elements = 1;
  for (uint32_t i = 0; i < n_dims; ++i) {
    const auto d = cursor.number<uint64_t>();
    if (d == 0 || d > uint64_t{1} << 48 || __builtin_mul_overflow(elements, d, &elements) ||
        elements > uint64_t{1} << 48) {
      cursor.fail("M224", fmt::format("tensor \"{}\" has the impossible dimension {}", t.name, d));
    }
    t.shape.insert(t.shape.begin(), static_cast<int64_t>(d));
  }
  const auto code = cursor.number<uint32_t>();
  t.type = find_gguf_type(code);
  if (t.type == nullptr) {
    throw Error(kGgufType,
                fmt::format("tensor \"{}\" of {} has the type {}, which is not supported", t.name,
                            cursor.file(), gguf_type_label(code)))
        .hint(fmt::format("use a file in one of: {}", gguf_type_list()));
  }
  if (t.row_length() % t.type->block != 0) {
    cursor.fail("M224", fmt::format("tensor \"{}\" has rows of {}, not a multiple of {}'s blocks "
                                    "of {}",
                                    t.name, t.row_length(), t.type->name, t.type->block));
  }
  t.bytes =
      elements / static_cast<uint64_t>(t.type->block) * static_cast<uint64_t>(t.type->block_bytes);
  t.offset = cursor.number<uint64_t>();
  return t;
}

// Tensors must lie at aligned places, one after the other, inside the file.
void check_layout(const GgufCursor& cursor, const std::vector<GgufTensor>& tensors,
                  uint64_t alignment, uint64_t data_start, uint64_t file_size) {
  std::vector<const GgufTensor*> by_offset;
  for (const GgufTensor& t : tensors) {
    by_offset.push_back(&t);
  }
  std::sort(by_offset.begin(), by_offset.end(),
            [](const auto* a, const auto* b) { return a->offset < b->offset; });
  uint64_t end = 0;
  for (const GgufTensor* t : by_offset) {
    if (t->offset % alignment != 0) {
      cursor.fail("M224", fmt::format("tensor \"{}\" begins at {}, not a multiple of {}", t->name,
                                      t->offset, alignment));
    }
    if (t->offset < end) {
      cursor.fail("M226", fmt::format("tensor \"{}\" overlaps another", t->name));
    }
    if (t->offset > file_size || t->bytes > file_size - t->offset ||
        data_start > file_size - t->offset - t->bytes) {
      cursor.fail("M225", fmt::format("the file is cut short: tensor \"{}\" takes {} bytes from "
                                      "byte {}, and the file has {}",
                                      t->name, t->bytes, data_start + t->offset, file_size));
    }
    end = t->offset + t->bytes;
  }
}

}  // namespace

GgufFile::GgufFile(const fs::path& path) : file_(path) {
  refuse_lfs_pointer(kPointerForModel, path, file_.text());
  GgufCursor cursor(file_.bytes(), path.string());
  read_magic(cursor);
  const uint64_t n_tensors = cursor.count("tensors", 24);
  const uint64_t n_values = cursor.count("metadata values", 13);
  for (uint64_t i = 0; i < n_values; ++i) {
    const std::string_view key = cursor.string();
    const auto type = cursor.number<uint32_t>();
    if (!values_.emplace(key, cursor.value(type)).second) {
      cursor.fail("M226", fmt::format("the metadata key \"{}\" stands twice", key));
    }
  }
  tensors_.reserve(n_tensors);
  for (uint64_t i = 0; i < n_tensors; ++i) {
    tensors_.push_back(read_tensor_info(cursor));
    if (!by_name_.emplace(tensors_.back().name, i).second) {
      cursor.fail("M226", fmt::format("the tensor \"{}\" stands twice", tensors_.back().name));
    }
  }
  const auto alignment = static_cast<uint64_t>(integer("general.alignment").value_or(32));
  if (!std::has_single_bit(alignment) || alignment > kMaxAlignment) {
    cursor.fail("M224",
                fmt::format("the alignment {} is not a power of two up to 2^20", alignment));
  }
  data_start_ = (cursor.position() + alignment - 1) / alignment * alignment;
  check_layout(cursor, tensors_, alignment, data_start_, file_.size());
}

const GgufTensor* GgufFile::find(std::string_view name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &tensors_[it->second];
}

std::span<const std::byte> GgufFile::raw(const GgufTensor& tensor) const {
  return file_.bytes().subspan(data_start_ + tensor.offset, tensor.bytes);
}

const GgufValue* GgufFile::value(std::string_view key) const {
  const auto it = values_.find(key);
  return it == values_.end() ? nullptr : &it->second;
}

template <class T>
const T* GgufFile::get(std::string_view key, const char* expected) const {
  const GgufValue* found = value(key);
  if (found == nullptr) {
    return nullptr;
  }
  const T* typed = std::get_if<T>(&found->value);
  if (typed == nullptr) {
    throw Error("M228", fmt::format("the metadata key \"{}\" of {} is not {}", key, path().string(),
                                    expected))
        .hint("the file is damaged; fetch or convert it again");
  }
  return typed;
}

std::optional<int64_t> GgufFile::integer(std::string_view key) const {
  const auto* v = get<int64_t>(key, "a whole number");
  return v == nullptr ? std::nullopt : std::optional(*v);
}

std::optional<double> GgufFile::number(std::string_view key) const {
  const GgufValue* found = value(key);
  if (found != nullptr && std::holds_alternative<int64_t>(found->value)) {
    return static_cast<double>(std::get<int64_t>(found->value));
  }
  const auto* v = get<double>(key, "a number");
  return v == nullptr ? std::nullopt : std::optional(*v);
}

std::optional<bool> GgufFile::boolean(std::string_view key) const {
  const auto* v = get<bool>(key, "true or false");
  return v == nullptr ? std::nullopt : std::optional(*v);
}

std::optional<std::string> GgufFile::string(std::string_view key) const {
  const auto* v = get<std::string_view>(key, "a text");
  return v == nullptr ? std::nullopt : std::optional(std::string(*v));
}

const std::vector<std::string_view>* GgufFile::strings(std::string_view key) const {
  return get<std::vector<std::string_view>>(key, "a list of texts");
}

const std::vector<int64_t>* GgufFile::integers(std::string_view key) const {
  return get<std::vector<int64_t>>(key, "a list of whole numbers");
}

const std::vector<double>* GgufFile::numbers(std::string_view key) const {
  return get<std::vector<double>>(key, "a list of numbers");
}

int64_t GgufFile::required_integer(std::string_view key) const {
  const auto v = integer(key);
  if (!v) {
    throw Error("M228", fmt::format("{} lacks the metadata key \"{}\"", path().string(), key))
        .hint("the file is damaged or incomplete; fetch or convert it again");
  }
  return *v;
}

double GgufFile::required_number(std::string_view key) const {
  const auto v = number(key);
  if (!v) {
    throw Error("M228", fmt::format("{} lacks the metadata key \"{}\"", path().string(), key))
        .hint("the file is damaged or incomplete; fetch or convert it again");
  }
  return *v;
}

}  // namespace sft
