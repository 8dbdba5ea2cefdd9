#include "io/checksum.h"

#include <array>
#include <cstring>

namespace sft {

namespace {

constexpr uint32_t kPolynomial = 0x82F63B78U;

using Tables = std::array<std::array<uint32_t, 256>, 8>;

// Table k advances a byte by k further zero bytes, so that eight bytes are taken at once.
constexpr Tables make_tables() {
  Tables tables{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) {
      value = (value & 1U) != 0 ? (value >> 1) ^ kPolynomial : value >> 1;
    }
    tables[0][i] = value;
  }
  for (size_t k = 1; k < 8; ++k) {
    for (size_t i = 0; i < 256; ++i) {
      tables[k][i] = (tables[k - 1][i] >> 8) ^ tables[0][tables[k - 1][i] & 0xffU];
    }
  }
  return tables;
}

constexpr Tables kTables = make_tables();

// Of polynomials over GF(2) modulo that of the checksum; the highest bit is the coefficient of 1.
constexpr uint32_t product(uint32_t a, uint32_t b) {
  uint32_t sum = 0;
  for (; a != 0; a <<= 1) {
    sum ^= (a & 0x80000000U) != 0 ? b : 0;
    b = (b >> 1) ^ ((b & 1U) != 0 ? kPolynomial : 0);
  }
  return sum;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t crc32c_hardware(uint32_t crc, const void* data,
                                                           size_t bytes) {
  const auto* p = static_cast<const unsigned char*>(data);
  uint64_t state = ~crc;
  for (; bytes >= 8; bytes -= 8, p += 8) {
    uint64_t word = 0;
    std::memcpy(&word, p, 8);
    state = __builtin_ia32_crc32di(state, word);
  }
  auto rest = static_cast<uint32_t>(state);
  for (; bytes > 0; --bytes, ++p) {
    rest = __builtin_ia32_crc32qi(rest, *p);
  }
  return ~rest;
}
#endif

}  // namespace

uint32_t crc32c_portable(uint32_t crc, const void* data, size_t bytes) {
  const auto* p = static_cast<const unsigned char*>(data);
  uint32_t state = ~crc;
  for (; bytes >= 8; bytes -= 8, p += 8) {
    uint32_t low = 0;
    uint32_t high = 0;
    std::memcpy(&low, p, 4);
    std::memcpy(&high, p + 4, 4);
    low ^= state;
    state = kTables[7][low & 0xffU] ^ kTables[6][(low >> 8) & 0xffU] ^
            kTables[5][(low >> 16) & 0xffU] ^ kTables[4][low >> 24] ^ kTables[3][high & 0xffU] ^
            kTables[2][(high >> 8) & 0xffU] ^ kTables[1][(high >> 16) & 0xffU] ^
            kTables[0][high >> 24];
  }
  for (; bytes > 0; --bytes, ++p) {
    state = (state >> 8) ^ kTables[0][(state ^ *p) & 0xffU];
  }
  return ~state;
}

uint32_t crc32c(uint32_t crc, const void* data, size_t bytes) {
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("sse4.2") != 0;
  if (has_instruction) {
    return crc32c_hardware(crc, data, bytes);
  }
#endif
  return crc32c_portable(crc, data, bytes);
}

// Bytes that follow multiply what was before by x^8 each.
uint32_t crc32c_joined(uint32_t first, uint32_t second, uint64_t bytes_of_second) {
  uint32_t power = 0x00800000U;  // x^8, squared from bit to bit of the count
  for (uint64_t n = bytes_of_second; n != 0; n >>= 1) {
    first = (n & 1U) != 0 ? product(first, power) : first;
    power = product(power, power);
  }
  return first ^ second;
}

}  // namespace sft
