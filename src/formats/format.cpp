#include "formats/format.h"

#include <algorithm>
#include <array>

#include "core/error.h"
#include "formats/convert.h"
#include "formats/eight_bit.h"
#include "formats/four_bit.h"
#include "formats/ggml_blocks.h"
#include "formats/mxfp4.h"

namespace sft {

namespace {

constexpr int64_t kGrain = int64_t{1} << 16;  // a multiple of every format's block

// ggml's blocks are decoded whole; what lies outside the range is left out.
void decode_blocks(const GgufType& type, const std::byte* from, int64_t begin, int64_t end,
                   float* to) {
  std::array<float, 256> block;
  for (int64_t at = begin; at < end;) {
    const std::byte* const source = from + at / type.block * type.block_bytes;
    const int64_t skipped = at % type.block;
    const int64_t whole = (end - at) / type.block * type.block;
    if (skipped == 0 && whole > 0) {
      type.decode(source, whole, to + (at - begin));
      at += whole;
      continue;
    }
    const int64_t n = std::min(end - at, type.block - skipped);
    type.decode(source, type.block, block.data());
    std::copy_n(block.data() + skipped, n, to + (at - begin));
    at += n;
  }
}

}  // namespace

void decode(const Tensor& packed, int64_t begin, int64_t end, float* to) {
  const std::byte* const data = packed.as<std::byte>();
  switch (packed.dtype) {
    case DType::nf4:
    case DType::fp4:
    case DType::nf4_nested:
    case DType::fp4_nested:
      return decode_four_bit(packed, begin, end, to);
    case DType::i8_rows:
    case DType::f8_rows:
    case DType::f8_blocks:
      return decode_eight_bit(packed, begin, end, to);
    case DType::mxfp4:
      return decode_mxfp4(packed, begin, end, to);
    default:
      if (const GgufType* const type = find_gguf_type(packed.dtype)) {
        return decode_blocks(*type, data, begin, end, to);
      }
      const auto width = static_cast<int64_t>(size_of(packed.dtype));
      convert_to_f32(packed.dtype, data + begin * width, end - begin, to);
  }
}

void decode(const Tensor& packed, float* to, ThreadPool* pool) {
  split_work(pool, packed.shape.elements(), kGrain,
             [&](int64_t begin, int64_t end) { decode(packed, begin, end, to + begin); });
}

bool can_encode(DType type) {
  return is_weight_dtype(type) || (is_packed(type) && type < DType::q8_0);
}

void encode(const float* values, Tensor& packed, ThreadPool* pool) {
  SFT_ASSERT(can_encode(packed.dtype));
  if (is_weight_dtype(packed.dtype)) {
    convert_from_f32(packed.dtype, values, packed.shape.elements(), packed.as<std::byte>(), pool);
  } else if (packed.dtype == DType::i8_rows || packed.dtype == DType::f8_rows) {
    encode_eight_bit(values, packed, pool);
  } else {
    encode_four_bit(values, packed, pool);
  }
}

}  // namespace sft
