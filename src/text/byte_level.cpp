#include "text/byte_level.h"

#include <array>

#include "text/unicode.h"

namespace sft {
namespace {

struct Alphabet {
  std::array<uint16_t, 256> code_of{};
  std::array<int16_t, 0x180> byte_of{};
};

// Printable Latin-1 characters stand for themselves; the other bytes follow in order from U+0100.
constexpr Alphabet make_alphabet() {
  Alphabet a;
  for (auto& byte : a.byte_of) {
    byte = -1;
  }
  uint16_t next = 0x100;
  for (int b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    const uint16_t code = printable ? static_cast<uint16_t>(b) : next++;
    a.code_of[static_cast<size_t>(b)] = code;
    a.byte_of[code] = static_cast<int16_t>(b);
  }
  return a;
}

constexpr Alphabet alphabet = make_alphabet();

}  // namespace

uint32_t byte_to_code(unsigned char byte) { return alphabet.code_of[byte]; }

int code_to_byte(uint32_t code) {
  return code < alphabet.byte_of.size() ? alphabet.byte_of[code] : -1;
}

void append_byte_level(std::string& out, std::string_view raw) {
  for (const char c : raw) {
    append_utf8(out, byte_to_code(static_cast<unsigned char>(c)));
  }
}

bool append_raw_bytes(std::string& out, std::string_view text) {
  const size_t before = out.size();
  for (size_t i = 0; i < text.size();) {
    const DecodedChar c = decode_utf8(text.data() + i);
    const int byte = code_to_byte(c.code);
    if (byte < 0) {
      out.resize(before);
      return false;
    }
    out.push_back(static_cast<char>(byte));
    i += c.size;
  }
  return true;
}

}  // namespace sft
