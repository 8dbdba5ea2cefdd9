// Walks the bytes of a GGUF header, never past their end. Used by GgufFile.
#pragma once

#include <bit>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "core/error_code.h"
#include "io/gguf/file.h"

namespace sft {

class GgufCursor {
 public:
  GgufCursor(std::span<const std::byte> bytes, std::string file)
      : bytes_(bytes), file_(std::move(file)) {}

  size_t position() const { return position_; }
  size_t left() const { return bytes_.size() - position_; }
  const std::string& file() const { return file_; }

  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)), sizeof(T));
    return value;
  }
  std::string_view string();
  // A value of the file's type code `type`. Lists nest at most four deep.
  GgufValue value(uint32_t type, int depth = 0);
  // A count of things that take at least `bytes_each` bytes: M222 when they cannot all be there.
  uint64_t count(const char* what, uint64_t bytes_each);

  [[noreturn]] void fail(Code code, const std::string& what) const;

 private:
  const std::byte* take(uint64_t bytes);
  int64_t integer(uint32_t type);
  GgufValue array(int depth);

  std::span<const std::byte> bytes_;
  std::string file_;
  size_t position_ = 0;
};

}  // namespace sft
