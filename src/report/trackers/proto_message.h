// Writes one protocol-buffer message, field by field, in the order of the calls. Used by the
// trackers whose file formats are made of such messages.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

namespace sft {

class ProtoMessage {
 public:
  ProtoMessage& integer(int field, int64_t value) {
    key(field, 0);
    varint(static_cast<uint64_t>(value));
    return *this;
  }
  ProtoMessage& float64(int field, double value) {
    key(field, 1);
    fixed(std::bit_cast<uint64_t>(value), 8);
    return *this;
  }
  ProtoMessage& float32(int field, float value) {
    key(field, 5);
    fixed(std::bit_cast<uint32_t>(value), 4);
    return *this;
  }
  ProtoMessage& text(int field, std::string_view value) {
    key(field, 2);
    varint(value.size());
    bytes_ += value;
    return *this;
  }
  ProtoMessage& message(int field, const ProtoMessage& value) { return text(field, value.bytes_); }
  // Seconds since 1970 as a google.protobuf.Timestamp.
  ProtoMessage& time(int field, double unix_seconds) {
    const auto seconds = static_cast<int64_t>(unix_seconds);
    const auto nanos = static_cast<int64_t>((unix_seconds - static_cast<double>(seconds)) * 1e9);
    return message(field, ProtoMessage().integer(1, seconds).integer(2, nanos));
  }

  const std::string& bytes() const { return bytes_; }

 private:
  void key(int field, uint64_t wire) { varint(static_cast<uint64_t>(field) << 3 | wire); }
  void varint(uint64_t value) {
    for (; value > 127; value >>= 7) {
      bytes_ += static_cast<char>(value | 128);
    }
    bytes_ += static_cast<char>(value);
  }
  void fixed(uint64_t value, int size) {
    for (int i = 0; i < size; ++i) {
      bytes_ += static_cast<char>(value >> 8 * i);
    }
  }
  std::string bytes_;
};

// Appends `size` bytes of a number, the lowest first.
inline void put_little_endian(std::string& out, uint64_t value, int size) {
  for (int i = 0; i < size; ++i) {
    out += static_cast<char>(value >> 8 * i);
  }
}

}  // namespace sft
