// Calls a function with the decoder of a weight's format. Used by the kernels that read weights as
// they are kept.
#pragma once

#include <algorithm>

#include "ops/cuda/scale_book.h"
#include "ops/cuda/unpack.cuh"

namespace sft::packed {

namespace detail {

template <bool kNested, class F>
void with_four_bit(CudaDevice& gpu, const Tensor& x, F&& f) {
  const FourBitScales parts = four_bit_scales(x);
  FourBit<kNested> format{x.as<uint8_t>(), parts.scales, parts.codes, parts.outer,
                          parts.mean,      nullptr,      {}};
  if (kNested) {
    format.book = gpu.state<ScaleBook>().values();
  }
  std::ranges::copy(four_bit_codes(x.dtype), format.codes);
  f(format);
}

template <bool kInt8, bool kTiles, bool kUnevenToo, class F>
void with_eight_bit(const Tensor& x, F&& f) {
  const int64_t rows = x.shape[0], length = x.shape.elements() / rows;
  const auto* const scales =
      reinterpret_cast<const float*>(x.as<uint8_t>() + scales_at(x.dtype, x.shape));
  const auto call = [&]<bool kEven>(std::bool_constant<kEven>) {
    f(EightBit<kInt8, kTiles, kEven>{x.as<uint8_t>(), scales, rows, length, 1.0F / 127.0F});
  };
  if constexpr (kUnevenToo) {
    if (length % kVec != 0) {
      return call(std::false_type{});
    }
  }
  call(std::true_type{});
}

}  // namespace detail

// Whether x is in codes of 4 or 8 bits with scales apart; if so f gets its decoder. kUnevenToo:
// rows may have any length, else it is a multiple of kVec.
template <bool kUnevenToo, class F>
bool with_codes(CudaDevice& gpu, const Tensor& x, F&& f) {
  switch (x.dtype) {
    case DType::nf4:
    case DType::fp4:
      detail::with_four_bit<false>(gpu, x, f);
      break;
    case DType::nf4_nested:
    case DType::fp4_nested:
      detail::with_four_bit<true>(gpu, x, f);
      break;
    case DType::i8_rows:
      detail::with_eight_bit<true, false, kUnevenToo>(x, f);
      break;
    case DType::f8_rows:
      detail::with_eight_bit<false, false, kUnevenToo>(x, f);
      break;
    case DType::f8_blocks:
      detail::with_eight_bit<false, true, kUnevenToo>(x, f);
      break;
    default:
      return false;
  }
  return true;
}

// The same for ggml's blocks.
template <class F>
bool with_blocks(CudaDevice& /*gpu*/, const Tensor& x, F&& f) {
  const auto* const data = x.as<uint8_t>();
  switch (x.dtype) {
    case DType::q8_0:
      f(Q8{data});
      break;
    case DType::q4_0:
      f(Q4<false, false>{data});
      break;
    case DType::q4_1:
      f(Q4<true, false>{data});
      break;
    case DType::q5_0:
      f(Q4<false, true>{data});
      break;
    case DType::q5_1:
      f(Q4<true, true>{data});
      break;
    case DType::q4_k:
      f(K4<false>{data});
      break;
    case DType::q5_k:
      f(K4<true>{data});
      break;
    case DType::q6_k:
      f(Q6K{data});
      break;
    default:
      return false;
  }
  return true;
}

}  // namespace sft::packed
