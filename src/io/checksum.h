// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78), computed with the processor's instruction
// where there is one. Used for every file of a checkpoint: any single damaged run of up to 32 bits
// is found for certain, anything else with probability 1 - 2^-32.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sft {

// Extends `crc` (0 at the start) by `bytes` bytes.
uint32_t crc32c(uint32_t crc, const void* data, size_t bytes);
// The checksum of a text of two parts from those of the parts.
uint32_t crc32c_joined(uint32_t first, uint32_t second, uint64_t bytes_of_second);
// The same as crc32c by table alone; what tests compare against.
uint32_t crc32c_portable(uint32_t crc, const void* data, size_t bytes);

}  // namespace sft
