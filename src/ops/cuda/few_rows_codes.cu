#include "ops/cuda/few_rows.cuh"

namespace sft::few_rows {

// Codes of 4 bits with a scale for 64; a lane takes 16.
template <bool kNested>
struct Loaded<packed::FourBit<kNested>> {
  using Format = packed::FourBit<kNested>;
  struct Raw {
    uint2 codes;
    float scale;     // or, where scales are nested, what a code of theirs is multiplied with,
    uint32_t inner;  // and that code
  };
  struct Input {
    EightFloats low, high;
    __device__ Input(const Staged& x, int row, uint32_t k)
        : low(x, row, k), high(x, row, k + kVec) {}
  };
  static constexpr bool kCodes = false;
  static constexpr int kUnit = 2 * kVec;
  static constexpr int kDepth = 2;
  struct Row {
    const uint2* codes;
    uint32_t block, before;  // the block that it begins in, and that block's values before it
  };
  __device__ static Row row(const Format& f, int64_t row, int64_t in) {
    const int64_t at = row * in;
    return {reinterpret_cast<const uint2*>(f.packed) + at / kUnit, static_cast<uint32_t>(at / 64),
            static_cast<uint32_t>(at % 64)};
  }
  __device__ static Raw load(const Format& f, const Row& row, uint32_t k) {
    Raw raw{__ldg(row.codes + k / kUnit), 0.0F, 0};
    const uint32_t block = row.block + (row.before + k) / 64;
    if constexpr (kNested) {
      raw.inner = __ldg(f.scale_codes + block);
      raw.scale = __ldg(f.outer + block / 256);
    } else {
      raw.scale = __ldg(f.scales + block);
    }
    return raw;
  }
  __device__ static float dot(const Format& f, const Raw& raw, uint32_t /*k*/, const Input& x,
                              const float* table) {
    // The number of the code at a bit's place, by its offset in bytes.
    const auto number = [&](uint32_t codes, int bit) {
      const uint32_t offset = (bit == 0 ? codes << 2 : codes >> (bit - 2)) & 60U;
      return *reinterpret_cast<const float*>(reinterpret_cast<const char*>(table) + offset);
    };
    float sum = 0.0F;
#pragma unroll
    for (int i = 0; i < kVec; ++i) {  // the first of a byte is its high half
      const int bit = i / 2 * 8 + (i % 2 == 0 ? 4 : 0);
      sum += number(raw.codes.x, bit) * x.low.v[i];
      sum += number(raw.codes.y, bit) * x.high.v[i];
    }
    if constexpr (kNested) {
      return sum * __fadd_rn(__fmul_rn(table[16 + raw.inner], raw.scale), __ldg(f.mean));
    }
    return sum * raw.scale;
  }
};

// Codes of 8 bits with a scale a row, or for each 128 x 128.
template <bool kInt8, bool kTiles, bool kEven>
struct Loaded<packed::EightBit<kInt8, kTiles, kEven>> {
  using Format = packed::EightBit<kInt8, kTiles, kEven>;
  struct Raw {
    packed::Bytes8 codes;
    float scale;
  };
  using Input = EightFloats;
  static constexpr bool kCodes = false;
  static constexpr int kUnit = kVec;
  static constexpr int kDepth = 4;
  struct Row {
    const uint8_t* codes;
    int64_t number;
    float scale;  // where it is the row's
  };
  __device__ static Row row(const Format& f, int64_t row, int64_t in) {
    return {f.packed + row * in, row, kTiles ? 0.0F : f.scale(row, 0)};
  }
  __device__ static Raw load(const Format& f, const Row& row, uint32_t k) {
    return {packed::load_bytes<8>(row.codes + k), kTiles ? f.scale(row.number, k) : row.scale};
  }
  __device__ static float dot(const Format& /*f*/, const Raw& raw, uint32_t /*k*/, const Input& x,
                              const float* /*table*/) {
    float sum = 0.0F;
    if constexpr (kInt8) {
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        sum += Format::number(raw.codes[i]) * x.v[i];
      }
    } else {
#pragma unroll
      for (int i = 0; i < kVec; i += 2) {  // cards turn two at a time
        const auto both =
            static_cast<__nv_fp8x2_storage_t>(raw.codes.words[i / 4] >> (i % 4 * 8) & 0xffffU);
        const float2 v = __half22float2(__half2(__nv_cvt_fp8x2_to_halfraw2(both, __NV_E4M3)));
        sum += v.x * x.v[i];
        sum += v.y * x.v[i + 1];
      }
    }
    return sum * raw.scale;
  }
};

bool product_of_codes(CudaDevice& gpu, const Tensor& first, const Tensor& second,
                      const Operands& operands) {
  return launch_with(gpu, first, second, operands,
                     [](CudaDevice& device, const Tensor& x, const auto& f) {
                       return packed::with_codes<false>(device, x, f);
                     });
}

}  // namespace sft::few_rows
