// ggml's blocks: x is rounded to codes of 8 bits, as on the CPU and in llama.cpp, and whole numbers
// are multiplied, four at a time.
#include "ops/cuda/few_rows.cuh"

namespace sft::few_rows {

namespace {

// x's codes of 8 values of a row, the scale of their block and what they add up to.
struct EightCodes {
  uint32_t codes[2];
  float scale, sum;
  __device__ EightCodes(const Staged& x, int row, uint32_t k) {
    const uint32_t at = static_cast<uint32_t>(row * x.vectors) + k / kVec;
    const uint2 both = reinterpret_cast<const uint2*>(x.codes)[at];
    codes[0] = both.x;
    codes[1] = both.y;
    scale = x.scales[at / 4];
    sum = x.sums[at];
  }
};

__device__ inline float whole_dot(uint32_t low, uint32_t high, const EightCodes& x) {
  const int sum = __dp4a(static_cast<int>(low), static_cast<int>(x.codes[0]), 0);
  return static_cast<float>(__dp4a(static_cast<int>(high), static_cast<int>(x.codes[1]), sum));
}

// 8 bytes from an even address, in words as they are under way, and once they are there.
struct Eight {
  uint32_t words[2];
  uint32_t end;  // the last two bytes where the address is no multiple of 4
};
__device__ inline bool is_odd(const uint8_t* p) {
  return (static_cast<uint32_t>(reinterpret_cast<uintptr_t>(p)) & 2U) != 0;
}
__device__ inline Eight fetch(const uint8_t* p) {
  const bool odd = is_odd(p);
  const auto* const q = reinterpret_cast<const uint32_t*>(p - (odd ? 2 : 0));
  return {{__ldg(q), __ldg(q + 1)},
          odd ? uint32_t{__ldg(reinterpret_cast<const uint16_t*>(q + 2))} : 0U};
}
__device__ inline uint2 bytes_of(const Eight& e, bool odd) {
  const uint32_t shift = odd ? 16 : 0;
  return {__funnelshift_r(e.words[0], e.words[1], shift),
          __funnelshift_r(e.words[1], e.end, shift)};
}
__device__ inline uint16_t fetch_half(const uint8_t* p) {
  return __ldg(reinterpret_cast<const uint16_t*>(p));
}
__device__ inline float half_of(uint32_t bits) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}

constexpr uint32_t kFours = 0x0f0f0f0fU;

// Where a row lies, for all of these formats.
struct BlockRow {
  const uint8_t* at;
};
template <int kValues, int kBytes, class Format>
__device__ inline BlockRow row_of_blocks(const Format& f, int64_t row, int64_t in) {
  return {f.packed + row * (in / kValues) * kBytes};
}

}  // namespace

template <>
struct Loaded<packed::Q8> {
  struct Raw {
    Eight codes;       // of 16 values: the first eight,
    uint32_t more[2];  // and what follows
    uint16_t scale, odd;
  };
  struct Input {
    uint4 codes;
    float scale;
    __device__ Input(const Staged& x, int row, uint32_t k) {
      const uint32_t at = static_cast<uint32_t>(row * x.vectors) + k / kVec;
      codes = reinterpret_cast<const uint4*>(x.codes)[at / 2];
      scale = x.scales[at / 4];
    }
  };
  using Row = BlockRow;
  static constexpr bool kCodes = true;
  static constexpr int kUnit = 2 * kVec;
  static constexpr int kDepth = 2;
  __device__ static Row row(const packed::Q8& f, int64_t row, int64_t in) {
    return row_of_blocks<32, 34>(f, row, in);
  }
  __device__ static Raw load(const packed::Q8& /*f*/, const Row& row, uint32_t k) {
    const uint8_t* const p = row.at + k / 32 * 34;
    const uint8_t* const codes = p + 2 + k % 32;
    const bool odd = is_odd(codes);
    const auto* const q = reinterpret_cast<const uint32_t*>(codes - (odd ? 2 : 0));
    return {{{__ldg(q), __ldg(q + 1)},
             odd ? uint32_t{__ldg(reinterpret_cast<const uint16_t*>(q + 4))} : 0U},
            {__ldg(q + 2), __ldg(q + 3)},
            fetch_half(p),
            odd};
  }
  __device__ static float dot(const packed::Q8& /*f*/, const Raw& raw, uint32_t /*k*/,
                              const Input& x, const float* /*table*/) {
    const uint32_t shift = raw.odd != 0 ? 16 : 0;
    const uint32_t words[5] = {raw.codes.words[0], raw.codes.words[1], raw.more[0], raw.more[1],
                               raw.codes.end};
    const uint32_t xs[4] = {x.codes.x, x.codes.y, x.codes.z, x.codes.w};
    int sum = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      sum = __dp4a(static_cast<int>(__funnelshift_r(words[i], words[i + 1], shift)),
                   static_cast<int>(xs[i]), sum);
    }
    return half_of(raw.scale) * x.scale * static_cast<float>(sum);
  }
};

template <bool kMinimum, bool kFifth>
struct Loaded<packed::Q4<kMinimum, kFifth>> {
  using Format = packed::Q4<kMinimum, kFifth>;
  struct Raw {
    Eight codes;
    uint16_t scale, minimum, odd, fifth[2];
  };
  using Input = EightCodes;
  using Row = BlockRow;
  static constexpr bool kCodes = true;
  static constexpr int kUnit = kVec;
  static constexpr int kDepth = 4;
  __device__ static Row row(const Format& f, int64_t row, int64_t in) {
    return row_of_blocks<32, Format::kBytes>(f, row, in);
  }
  __device__ static Raw load(const Format& /*f*/, const Row& row, uint32_t k) {
    const uint8_t* const p = row.at + k / 32 * Format::kBytes;
    const uint8_t* const codes = p + Format::kHeader + k % 16;
    Raw raw{fetch(codes), fetch_half(p), 0, is_odd(codes), {0, 0}};
    if constexpr (kMinimum) {
      raw.minimum = fetch_half(p + 2);
    }
    if constexpr (kFifth) {
      raw.fifth[0] = fetch_half(p + Format::kHeader - 4);
      raw.fifth[1] = fetch_half(p + Format::kHeader - 2);
    }
    return raw;
  }
  __device__ static float dot(const Format& /*f*/, const Raw& raw, uint32_t k, const Input& x,
                              const float* /*table*/) {
    const uint32_t place = k % 32;
    uint2 codes = bytes_of(raw.codes, raw.odd != 0);
    const int shift = place < 16 ? 0 : 4;
    codes.x = codes.x >> shift & kFours;
    codes.y = codes.y >> shift & kFours;
    if constexpr (kFifth) {
      const uint32_t all = uint32_t{raw.fifth[0]} | uint32_t{raw.fifth[1]} << 16;
      const uint32_t bits = all >> place;
      codes.x |= ((bits & 15U) * 0x00204081U & 0x01010101U) << 4;  // a bit to each byte
      codes.y |= ((bits >> 4 & 15U) * 0x00204081U & 0x01010101U) << 4;
    }
    const float dot = whole_dot(codes.x, codes.y, x);
    if constexpr (kMinimum) {
      return x.scale * (half_of(raw.scale) * dot + half_of(raw.minimum) * x.sum);
    } else {
      return x.scale * half_of(raw.scale) * (dot - (kFifth ? 16.0F : 8.0F) * x.sum);
    }
  }
};

// A lane takes two groups of 32, which lie in the halves of 32 bytes.
template <bool kFifth>
struct Loaded<packed::K4<kFifth>> {
  using Format = packed::K4<kFifth>;
  struct Raw {
    uint4 head;  // two scales, and 12 bytes of the groups'
    uint4 codes[2];
    uint4 fifth[kFifth ? 2 : 1];
  };
  struct Input {
    uint4 codes[4];
    float2 scale;
    float sums[2];
    __device__ Input(const Staged& x, int row, uint32_t k) {
      const uint32_t at = static_cast<uint32_t>(row * x.vectors) + k / kVec;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        codes[i] = reinterpret_cast<const uint4*>(x.codes)[at / 2 + i];
      }
      scale = reinterpret_cast<const float2*>(x.scales)[at / 8];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float4 four = reinterpret_cast<const float4*>(x.sums)[at / 4 + i];
        sums[i] = (four.x + four.y) + (four.z + four.w);
      }
    }
  };
  using Row = BlockRow;
  static constexpr bool kCodes = true;
  static constexpr int kUnit = 64;
  static constexpr int kDepth = 1;
  __device__ static Row row(const Format& f, int64_t row, int64_t in) {
    return row_of_blocks<256, Format::kBytes>(f, row, in);
  }
  __device__ static Raw load(const Format& /*f*/, const Row& row, uint32_t k) {
    const auto* const p = reinterpret_cast<const uint4*>(row.at + k / 256 * Format::kBytes);
    const auto* const codes = p + (kFifth ? 3 : 1) + k % 256 / 64 * 2;
    Raw raw{__ldg(p), {__ldg(codes), __ldg(codes + 1)}, {}};
    if constexpr (kFifth) {
      raw.fifth[0] = __ldg(p + 1);
      raw.fifth[1] = __ldg(p + 2);
    }
    return raw;
  }
  __device__ static float dot(const Format& /*f*/, const Raw& raw, uint32_t k, const Input& x,
                              const float* /*table*/) {
    const uint32_t pair = k % 256 / 64;
    constexpr uint32_t kSix = 0x3f3f3f3fU;
    constexpr uint32_t kHigh = 0x30303030U;
    constexpr uint32_t kOnes = 0x01010101U;
    const uint32_t a = raw.head.y;
    const uint32_t b = raw.head.z;
    const uint32_t c = raw.head.w;
    const uint32_t shift = pair % 2 * 16;
    const uint32_t scales = (pair < 2 ? a & kSix : (c & kFours) | (a >> 2 & kHigh)) >> shift;
    const uint32_t minima = (pair < 2 ? b & kSix : (c >> 4 & kFours) | (b >> 2 & kHigh)) >> shift;
    int low = 0;
    int high = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const auto word = [&](const uint4& four) {
        return i % 4 == 0 ? four.x : i % 4 == 1 ? four.y : i % 4 == 2 ? four.z : four.w;
      };
      const uint32_t codes = word(raw.codes[i / 4]);
      uint32_t first = codes & kFours;
      uint32_t second = codes >> 4 & kFours;
      if constexpr (kFifth) {
        const uint32_t bits = word(raw.fifth[i / 4]) >> (2 * pair);
        first |= (bits & kOnes) << 4;
        second |= (bits >> 1 & kOnes) << 4;
      }
      low = __dp4a(static_cast<int>(first), static_cast<int>(word(x.codes[i / 4])), low);
      high = __dp4a(static_cast<int>(second), static_cast<int>(word(x.codes[2 + i / 4])), high);
    }
    const auto of = [](uint32_t bytes, int i) {
      return static_cast<float>(bytes >> (8 * i) & 255U);
    };
    const float d = half_of(raw.head.x & 0xffffU);
    const float least = half_of(raw.head.x >> 16);
    return x.scale.x *
               (d * of(scales, 0) * static_cast<float>(low) - least * of(minima, 0) * x.sums[0]) +
           x.scale.y *
               (d * of(scales, 1) * static_cast<float>(high) - least * of(minima, 1) * x.sums[1]);
  }
};

template <>
struct Loaded<packed::Q6K> {
  using Format = packed::Q6K;
  struct Raw {
    Eight fours, twos;
    uint16_t scale;
    int8_t group;
    bool odd;
  };
  using Input = EightCodes;
  using Row = BlockRow;
  static constexpr bool kCodes = true;
  static constexpr int kUnit = kVec;
  static constexpr int kDepth = 2;
  __device__ static Row row(const Format& f, int64_t row, int64_t in) {
    return row_of_blocks<256, 210>(f, row, in);
  }
  __device__ static uint32_t quarter_of(uint32_t k) { return k % 128 / 32; }
  __device__ static Raw load(const Format& /*f*/, const Row& row, uint32_t k) {
    const uint8_t* const p = row.at + k / 256 * 210;
    const uint32_t half = k % 256 / 128;
    const uint8_t* const fours = p + half * 64 + quarter_of(k) % 2 * 32 + k % 32;
    return {fetch(fours), fetch(p + 128 + half * 32 + k % 32), fetch_half(p + 208),
            static_cast<int8_t>(__ldg(p + 192 + k % 256 / 16)), is_odd(fours)};
  }
  __device__ static float dot(const Format& /*f*/, const Raw& raw, uint32_t k, const Input& x,
                              const float* /*table*/) {
    const uint32_t quarter = quarter_of(k);
    constexpr uint32_t kTwos = 0x03030303U;
    // Both begin 8 bytes or a multiple of that behind the block's first.
    const uint2 fours = bytes_of(raw.fours, raw.odd);
    const uint2 twos = bytes_of(raw.twos, raw.odd);
    const uint32_t shift = quarter < 2 ? 0 : 4;
    const uint32_t low = (fours.x >> shift & kFours) | (twos.x >> (2 * quarter) & kTwos) << 4;
    const uint32_t high = (fours.y >> shift & kFours) | (twos.y >> (2 * quarter) & kTwos) << 4;
    return half_of(raw.scale) * static_cast<float>(raw.group) * x.scale *
           (whole_dot(low, high, x) - 32.0F * x.sum);
  }
};

bool product_of_blocks(CudaDevice& gpu, const Tensor& first, const Tensor& second,
                       const Operands& operands) {
  return launch_with(gpu, first, second, operands,
                     [](CudaDevice& device, const Tensor& x, const auto& f) {
                       return packed::with_blocks(device, x, f);
                     });
}

}  // namespace sft::few_rows
