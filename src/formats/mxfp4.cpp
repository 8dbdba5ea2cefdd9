#include "formats/mxfp4.h"

#include <algorithm>

#include "core/error.h"

namespace sft {

namespace {

// Values of rows [first, last) of one matrix (in, out), `last` - `first` <= 32 and in one block.
void decode_rows(const uint8_t* codes, const uint8_t* exponents, int64_t in, int64_t out,
                 int64_t first, int64_t last, int64_t begin, int64_t end, float* to) {
  for (int64_t column = begin; column < end; ++column) {
    const float half = mxfp4_half_power(exponents[(column * in + first) / kMxfp4Block]);
    for (int64_t row = first; row < last; ++row) {
      const uint8_t pair = codes[(column * in + row) / 2];
      const uint32_t code = row % 2 == 0 ? pair & 15U : pair >> 4;
      to[(row - first) * out + column] = kMxfp4Doubles[code] * half;
    }
  }
}

}  // namespace

void decode_mxfp4(const Tensor& packed, int64_t begin, int64_t end, float* to) {
  const int rank = packed.shape.rank();
  const int64_t in = packed.shape[rank - 2];
  const int64_t out = packed.shape[rank - 1];
  SFT_ASSERT(in % kMxfp4Block == 0);
  const auto* const codes = packed.as<uint8_t>();
  const uint8_t* const exponents = codes + scales_at(packed.dtype, packed.shape);
  // Whole rows of one block at a time, columns of a row where a range begins or ends inside it.
  for (int64_t at = begin; at < end;) {
    const int64_t matrix = at / (in * out);
    const int64_t row = at / out % in;
    const int64_t column = at % out;
    const int64_t rows =
        column == 0 ? std::min(kMxfp4Block - row % kMxfp4Block, (end - at) / out) : 0;
    const int64_t columns = rows > 0 ? out : std::min(out, column + (end - at));
    const int64_t first = matrix * in * out;
    decode_rows(codes + first / 2, exponents + first / kMxfp4Block, in, out, row,
                row + std::max<int64_t>(rows, 1), column, columns, to + (at - begin) - column);
    at += rows > 0 ? rows * out : columns - column;
  }
}

void mxfp4_from_ggml(const uint8_t* block, uint8_t* codes) {
  constexpr int64_t kHalf = kMxfp4Block / 2;
  const auto code = [&](int64_t i) {
    return static_cast<uint32_t>(i < kHalf ? block[i] & 15U : block[i - kHalf] >> 4);
  };
  for (int64_t i = 0; i < kHalf; ++i) {
    codes[i] = static_cast<uint8_t>(code(2 * i) | code(2 * i + 1) << 4);
  }
}

void mxfp4_to_ggml(const uint8_t* codes, uint8_t* block) {
  constexpr int64_t kHalf = kMxfp4Block / 2;
  const auto code = [&](int64_t i) {
    return static_cast<uint32_t>(i % 2 == 0 ? codes[i / 2] & 15U : codes[i / 2] >> 4);
  };
  for (int64_t i = 0; i < kHalf; ++i) {
    block[i] = static_cast<uint8_t>(code(i) | code(i + kHalf) << 4);
  }
}

}  // namespace sft
