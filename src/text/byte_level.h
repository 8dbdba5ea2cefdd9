// The byte-level alphabet: each of the 256 bytes is written as one printable character.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sft {

// The code point that stands for a byte (below 0x180).
uint32_t byte_to_code(unsigned char byte);
// The byte a code point stands for, or -1.
int code_to_byte(uint32_t code);

// Appends `raw` written in the alphabet.
void append_byte_level(std::string& out, std::string_view raw);
// Appends the bytes that `text` stands for; false, with `out` unchanged, when a character of it is
// not in the alphabet. `text` is valid UTF-8.
bool append_raw_bytes(std::string& out, std::string_view text);

}  // namespace sft
