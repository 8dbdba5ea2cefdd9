#include "formats/convert.h"

#include <bit>
#include <cstring>

#include "core/error.h"

namespace sft {

namespace {

constexpr int64_t kGrain = int64_t{1} << 16;

template <class T>
T load(const std::byte* p, int64_t i) {
  T value;
  std::memcpy(&value, p + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

// Branchless, so that the compiler turns the loop into vector code: all three kinds of number are
// computed and the right one selected.
inline float half_to_float(uint16_t h) {
  const uint32_t sign = uint32_t{h & 0x8000U} << 16;
  const uint32_t magnitude = h & 0x7fffU;
  const uint32_t normal = (magnitude << 13) + (112U << 23);
  const auto tiny =
      std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24F);
  const uint32_t special = (magnitude << 13) | 0x7f800000U;
  uint32_t bits = magnitude < 0x400U ? tiny : normal;
  bits = magnitude >= 0x7c00U ? special : bits;
  return std::bit_cast<float>(bits | sign);
}

inline uint16_t float_to_bfloat16(float x) {
  const auto u = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (u + 0x7fffU + ((u >> 16) & 1U)) >> 16;
  const uint32_t quiet = (u >> 16) | 0x40U;
  return static_cast<uint16_t>((u & 0x7fffffffU) > 0x7f800000U ? quiet : rounded);
}

void widen(DType stored, const std::byte* source, int64_t begin, int64_t end, float* destination) {
  switch (stored) {
    case DType::f32:
      std::memcpy(destination + begin, source + begin * 4, static_cast<size_t>(end - begin) * 4);
      return;
    case DType::bf16:
      for (int64_t i = begin; i < end; ++i) {
        destination[i] = std::bit_cast<float>(uint32_t{load<uint16_t>(source, i)} << 16);
      }
      return;
    case DType::f16:
      for (int64_t i = begin; i < end; ++i) {
        destination[i] = half_to_float(load<uint16_t>(source, i));
      }
      return;
    default:
      SFT_ASSERT(is_weight_dtype(stored));
  }
}

void narrow(DType stored, const float* source, int64_t begin, int64_t end, std::byte* destination) {
  switch (stored) {
    case DType::f32:
      std::memcpy(destination + begin * 4, source + begin, static_cast<size_t>(end - begin) * 4);
      return;
    case DType::bf16:
      for (int64_t i = begin; i < end; ++i) {
        const uint16_t bits = float_to_bfloat16(source[i]);
        std::memcpy(destination + i * 2, &bits, 2);
      }
      return;
    case DType::f16:
      for (int64_t i = begin; i < end; ++i) {
        const uint16_t bits = to_float16(source[i]).bits;
        std::memcpy(destination + i * 2, &bits, 2);
      }
      return;
    default:
      SFT_ASSERT(is_weight_dtype(stored));
  }
}

}  // namespace

bool is_weight_dtype(DType type) {
  return type == DType::f32 || type == DType::f16 || type == DType::bf16;
}

void split_work(ThreadPool* pool, int64_t n, int64_t grain,
                const std::function<void(int64_t, int64_t)>& body) {
  if (pool == nullptr || pool->size() == 1 || n <= grain) {
    body(0, n);
  } else {
    pool->parallel_for(n, body, grain);
  }
}

void convert_to_f32(DType stored, const std::byte* source, int64_t n, float* destination,
                    ThreadPool* pool) {
  SFT_ASSERT(is_weight_dtype(stored));
  split_work(pool, n, kGrain,
             [&](int64_t begin, int64_t end) { widen(stored, source, begin, end, destination); });
}

void convert_from_f32(DType stored, const float* source, int64_t n, std::byte* destination,
                      ThreadPool* pool) {
  SFT_ASSERT(is_weight_dtype(stored));
  split_work(pool, n, kGrain,
             [&](int64_t begin, int64_t end) { narrow(stored, source, begin, end, destination); });
}

}  // namespace sft
