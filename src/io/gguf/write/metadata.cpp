#include "io/gguf/write/metadata.h"

#include <algorithm>

namespace sft {

namespace {

// How a value's type is spelt in the file.
enum GgufValueType : uint32_t { kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7, kString = 8, kArray = 9 };

template <class T>
void append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
}
void append_text(std::string& bytes, std::string_view text) {
  append<uint64_t>(bytes, text.size());
  bytes.append(text);
}

template <class T>
std::string scalar(GgufValueType type, T value) {
  std::string bytes;
  append<uint32_t>(bytes, type);
  append(bytes, value);
  return bytes;
}

std::string list_head(GgufValueType type, size_t count) {
  std::string bytes;
  append<uint32_t>(bytes, kArray);
  append<uint32_t>(bytes, type);
  append<uint64_t>(bytes, count);
  return bytes;
}

template <class T>
std::string list(GgufValueType type, const std::vector<T>& values) {
  std::string bytes = list_head(type, values.size());
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  return bytes;
}

}  // namespace

void GgufMetadata::set(std::string_view key, std::string value) {
  for (auto& [there, bytes] : entries_) {
    if (there == key) {
      bytes = std::move(value);
      return;
    }
  }
  entries_.emplace_back(key, std::move(value));
}

void GgufMetadata::text(std::string_view key, std::string_view value) {
  if (!value.empty()) {
    std::string bytes;
    append<uint32_t>(bytes, kString);
    append_text(bytes, value);
    set(key, std::move(bytes));
  }
}

void GgufMetadata::number(std::string_view key, uint32_t value) { set(key, scalar(kU32, value)); }
void GgufMetadata::whole(std::string_view key, int32_t value) { set(key, scalar(kI32, value)); }
void GgufMetadata::real(std::string_view key, float value) { set(key, scalar(kF32, value)); }
void GgufMetadata::flag(std::string_view key, bool value) {
  set(key, scalar(kBool, static_cast<uint8_t>(value)));
}

void GgufMetadata::texts(std::string_view key, const std::vector<std::string>& values) {
  if (!values.empty()) {
    std::string bytes = list_head(kString, values.size());
    for (const std::string& value : values) {
      append_text(bytes, value);
    }
    set(key, std::move(bytes));
  }
}

void GgufMetadata::numbers(std::string_view key, const std::vector<int32_t>& values) {
  if (!values.empty()) {
    set(key, list(kI32, values));
  }
}

void GgufMetadata::reals(std::string_view key, const std::vector<float>& values) {
  if (!values.empty()) {
    set(key, list(kF32, values));
  }
}

void GgufMetadata::flags(std::string_view key, const std::vector<bool>& values) {
  if (!values.empty()) {
    set(key, list(kBool, std::vector<uint8_t>(values.begin(), values.end())));
  }
}

void GgufMetadata::move_to_end(std::string_view key) {
  const auto it = std::ranges::find(entries_, key, [](const auto& e) { return e.first; });
  if (it != entries_.end()) {
    std::rotate(it, it + 1, entries_.end());
  }
}

std::string GgufMetadata::bytes() const {
  std::string all;
  for (const auto& [key, value] : entries_) {
    append_text(all, key);
    all += value;
  }
  return all;
}

}  // namespace sft
