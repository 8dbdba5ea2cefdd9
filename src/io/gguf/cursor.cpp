#include "io/gguf/cursor.h"

#include <fmt/format.h>

#include <limits>
#include <string>

#include "core/error.h"

namespace sft {

namespace {

// The file's codes for the types of metadata values.
enum MetadataType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};

// No tokenizer comes near this; it bounds the memory that a hostile file can make us take.
constexpr uint64_t kMaxList = uint64_t{1} << 24;

uint64_t smallest_size(uint32_t type) {
  switch (type) {
    case kU8:
    case kI8:
    case kBool:
      return 1;
    case kU16:
    case kI16:
      return 2;
    case kU32:
    case kI32:
    case kF32:
      return 4;
    case kArray:
      return 12;
    default:
      return 8;
  }
}

bool is_integer(uint32_t type) { return type <= kI32 || type == kU64 || type == kI64; }

// 1e-5 stored as a float reads back as 1e-05, not as 9.999999747378752e-06: the shortest decimal
// that gives the same float is what the converter was given.
double shortest(float x) {
  char text[32];
  const auto written = std::to_chars(text, text + sizeof text, x);
  double value = x;
  std::from_chars(text, written.ptr, value);
  return value;
}

}  // namespace

void GgufCursor::fail(Code code, const std::string& what) const {
  throw Error(code, fmt::format("{}: {}", file_, what))
      .at(fmt::format("{}@{}", file_, position_))
      .hint("the file is damaged or incomplete; fetch it again");
}

const std::byte* GgufCursor::take(uint64_t bytes) {
  if (bytes > left()) {
    fail("M222", fmt::format("the file is cut short: {} bytes are needed at byte {}, {} are there",
                             bytes, position_, left()));
  }
  const std::byte* p = bytes_.data() + position_;
  position_ += bytes;
  return p;
}

std::string_view GgufCursor::string() {
  const auto length = number<uint64_t>();
  const auto* p = reinterpret_cast<const char*>(take(length));
  return {p, length};
}

uint64_t GgufCursor::count(const char* what, uint64_t bytes_each) {
  const auto n = number<uint64_t>();
  if (n > left() / bytes_each) {
    fail("M222", fmt::format("the header promises {} {}, more than the {} bytes left can hold", n,
                             what, left()));
  }
  return n;
}

int64_t GgufCursor::integer(uint32_t type) {
  switch (type) {
    case kU8:
      return number<uint8_t>();
    case kI8:
      return number<int8_t>();
    case kU16:
      return number<uint16_t>();
    case kI16:
      return number<int16_t>();
    case kU32:
      return number<uint32_t>();
    case kI32:
      return number<int32_t>();
    case kI64:
      return number<int64_t>();
    default:
      break;
  }
  const auto value = number<uint64_t>();
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    fail("M223", fmt::format("the metadata number {} is beyond 2^63", value));
  }
  return static_cast<int64_t>(value);
}

GgufValue GgufCursor::value(uint32_t type, int depth) {
  if (is_integer(type)) {
    return {integer(type)};
  }
  switch (type) {
    case kF32:
      return {shortest(number<float>())};
    case kF64:
      return {number<double>()};
    case kBool:
      return {number<uint8_t>() != 0};
    case kString:
      return {string()};
    case kArray:
      return array(depth);
    default:
      fail("M223", fmt::format("a metadata value has the unknown type {}", type));
  }
}

GgufValue GgufCursor::array(int depth) {
  if (depth >= 4) {
    fail("M223", "a metadata list holds lists more than four deep");
  }
  const auto type = number<uint32_t>();
  const uint64_t n = count("list entries", smallest_size(type));
  if (n > kMaxList) {
    fail("M223", fmt::format("a metadata list has {} entries, at most {} are read", n, kMaxList));
  }
  const auto fill = [&](auto list, auto next) -> GgufValue {
    list.reserve(n);
    for (uint64_t i = 0; i < n; ++i) {
      list.push_back(next());
    }
    return {std::move(list)};
  };
  if (is_integer(type)) {
    return fill(std::vector<int64_t>(), [&] { return integer(type); });
  }
  switch (type) {
    case kF32:
      return fill(std::vector<double>(), [&] { return double{number<float>()}; });
    case kF64:
      return fill(std::vector<double>(), [&] { return number<double>(); });
    case kBool:
      return fill(std::vector<bool>(), [&] { return number<uint8_t>() != 0; });
    case kString:
      return fill(std::vector<std::string_view>(), [&] { return string(); });
    case kArray:
      return fill(GgufValue::Array(), [&] { return array(depth + 1); });
    default:
      fail("M223", fmt::format("a metadata list has the unknown type {}", type));
  }
}

}  // namespace sft
