// Reads GGUF files (versions 2 and 3): metadata and the list of tensors. Used by ModelSource. The
// file is mapped; strings are views into it, so they live as long as the GgufFile. These files come
// from strangers: every count, length and offset is checked before memory is taken for it.
// Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "core/file.h"
#include "core/tensor.h"
#include "core/thread_pool.h"

namespace sft {

struct GgufType;  // gguf_dequant.h

// One metadata value. Integers of all widths become int64_t (a u64 beyond 2^63 is refused).
struct GgufValue {
  using Array = std::vector<GgufValue>;
  std::variant<bool, int64_t, double, std::string_view, std::vector<bool>, std::vector<int64_t>,
               std::vector<double>, std::vector<std::string_view>, Array>
      value;
};

struct GgufTensor {
  std::string name;
  const GgufType* type = nullptr;
  std::vector<int64_t> shape;  // in PyTorch's order: the file's dimensions reversed
  uint64_t offset = 0;         // bytes from the start of the data section
  uint64_t bytes = 0;

  int64_t elements() const { return elements_of(shape); }
  int64_t row_length() const { return shape.empty() ? 1 : shape.back(); }
};

class GgufFile {
 public:
  // M001 when it cannot be read, M220-M227 when it is not sound or of a type we do not read.
  explicit GgufFile(const fs::path& path);

  const fs::path& path() const { return file_.path(); }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* find(std::string_view name) const;
  std::span<const std::byte> raw(const GgufTensor& tensor) const;

  const GgufValue* value(std::string_view key) const;
  // The value under `key`, or nothing when it is absent; M228 when it has another type.
  std::optional<int64_t> integer(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;  // an f32 as its shortest decimal
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string> string(std::string_view key) const;
  const std::vector<std::string_view>* strings(std::string_view key) const;  // null when absent
  const std::vector<int64_t>* integers(std::string_view key) const;
  const std::vector<double>* numbers(std::string_view key) const;
  // As above; M228 when absent.
  int64_t required_integer(std::string_view key) const;
  double required_number(std::string_view key) const;

 private:
  template <class T>
  const T* get(std::string_view key, const char* expected) const;

  MappedFile file_;
  uint64_t data_start_ = 0;
  std::unordered_map<std::string_view, GgufValue> values_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string_view, size_t> by_name_;
};

}  // namespace sft
