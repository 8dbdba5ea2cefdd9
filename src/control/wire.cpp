#include "control/wire.h"

#include <fmt/format.h>

#include <concepts>

#include "core/error_codes.h"

namespace sft::control {

namespace {

constexpr std::string_view kMagic = "SFTc";
constexpr Code kForeign = "N022";

template <std::integral T>
void put(std::string& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) {
    out.push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i) & 0xFF));
  }
}

void put(std::string& out, std::string_view text) {
  put(out, static_cast<uint32_t>(text.size()));
  out += text;
}

// Reads what `put` wrote; after the first thing that is not there, everything is zero and `good`
// false.
struct Cutter {
  std::string_view left;
  bool good = true;

  template <class T>
  T number() {
    uint64_t value = 0;
    if (left.size() < sizeof(T)) {
      good = false;
      return T{};
    }
    for (size_t i = 0; i < sizeof(T); ++i) {
      value |= uint64_t{static_cast<unsigned char>(left[i])} << (8 * i);
    }
    left.remove_prefix(sizeof(T));
    return static_cast<T>(value);
  }

  std::string text() {
    const auto size = number<uint32_t>();
    if (!good || size > left.size()) {
      good = false;
      return {};
    }
    std::string out(left.substr(0, size));
    left.remove_prefix(size);
    return out;
  }
};

bool known(Type type) {
  return (type >= Type::hello && type <= Type::prove) ||
         (type >= Type::welcome && type <= Type::waits);
}

}  // namespace

std::string encode(const Hello& hello) {
  std::string out(kMagic);
  put(out, kVersion);
  put(out, hello.job);
  put(out, hello.nonce);
  put(out, hello.attempt);
  put(out, hello.rank);
  put(out, hello.world);
  put(out, hello.process);
  put(out, hello.host);
  return out;
}

std::optional<Hello> decode_hello(std::string_view text) {
  if (!text.starts_with(kMagic)) {
    return std::nullopt;
  }
  Cutter cut{text.substr(kMagic.size())};
  if (cut.number<uint32_t>() != kVersion) {
    return std::nullopt;
  }
  Hello hello;
  hello.job = cut.text();
  hello.nonce = cut.text();
  hello.attempt = cut.number<int64_t>();
  hello.rank = cut.number<int64_t>();
  hello.world = cut.number<int64_t>();
  hello.process = cut.number<uint64_t>();
  hello.host = cut.text();
  if (!cut.good || !cut.left.empty()) {
    return std::nullopt;
  }
  return hello;
}

Message because_of(Code code, std::string text, Type type, int64_t a, int64_t b, int64_t c) {
  return {type, a, b, c, std::string(code.text()), std::move(text)};
}

Code code_of(const Message& message) {
  const CodeRow* row = find_row(message.key);
  return row == nullptr ? kForeign : row->code;
}

std::string encode(const Message& message) {
  SFT_ASSERT(message.key.size() <= kMaxKey && message.text.size() <= kMaxValue + kMaxKey);
  std::string body;
  body.reserve(message.key.size() + message.text.size() + 64);
  put(body, static_cast<uint8_t>(message.type));
  put(body, message.a);
  put(body, message.b);
  put(body, message.c);
  put(body, message.key);
  put(body, message.text);
  std::string frame;
  put(frame, static_cast<uint32_t>(body.size()));
  return frame + body;
}

std::optional<Message> FrameReader::next() {
  const std::string_view all = std::string_view(buffer_).substr(read_);
  if (all.size() < 4) {
    return std::nullopt;
  }
  Cutter head{all};
  const size_t size = head.number<uint32_t>();
  if (size > limit_ || size < 1) {
    throw Error(kForeign, "what came over the control connection is not of this program");
  }
  if (all.size() - 4 < size) {
    return std::nullopt;
  }
  Cutter cut{all.substr(4, size)};
  Message message;
  message.type = static_cast<Type>(cut.number<uint8_t>());
  message.a = cut.number<int64_t>();
  message.b = cut.number<int64_t>();
  message.c = cut.number<int64_t>();
  message.key = cut.text();
  message.text = cut.text();
  if (!cut.good || !cut.left.empty() || !known(message.type)) {
    throw Error(kForeign, "what came over the control connection is not of this program");
  }
  read_ += 4 + size;
  if (read_ == buffer_.size() || read_ > (size_t{1} << 16)) {
    buffer_.erase(0, read_);
    read_ = 0;
  }
  return message;
}

std::string seconds(Time time) {
  const Time tenths = time / (kSecond / 10);
  return tenths >= 100 || tenths % 10 == 0 ? fmt::format("{}", tenths / 10)
                                           : fmt::format("{}.{}", tenths / 10, tenths % 10);
}

}  // namespace sft::control
