// Packed weights on a GPU: decoded to the bits of formats/ rounded once, and packed into its bytes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "core/rng.h"
#include "formats/convert.h"
#include "formats/format.h"
#include "ops/kernels.h"
#include "support/op_case.h"

namespace sft::testing {
namespace {

std::vector<float> values(int64_t count) {
  std::vector<float> out(static_cast<size_t>(count));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = std::ldexp(normal(5, 0, i), -static_cast<int>(i / 64 % 11));
  }
  return out;
}

struct Packed {
  std::vector<std::byte> memory;
  Tensor tensor;
  Packed(DType type, const Shape& shape)
      : memory(bytes_of(type, shape)), tensor{memory.data(), shape, type} {}
};

// Any codes, with scales that are numbers.
Packed some_blocks(DType type, const Shape& shape) {
  Packed packed(type, shape);
  const auto block = static_cast<size_t>(packing_of(type).bytes);
  for (size_t i = 0; i < packed.memory.size(); ++i) {
    packed.memory[i] = static_cast<std::byte>(philox(6, static_cast<uint64_t>(type), i)[0]);
  }
  // Where a block has float16 numbers, their exponents stay small.
  const std::vector<size_t> halves =
      type == DType::q6_k ? std::vector<size_t>{208}
      : type == DType::q8_0 || type == DType::q4_0 || type == DType::q5_0
          ? std::vector<size_t>{0}
          : std::vector<size_t>{0, 2};
  for (size_t at = 0; at < packed.memory.size(); at += block) {
    for (const size_t half : halves) {
      packed.memory[at + half + 1] &= std::byte{0xBF};
    }
  }
  return packed;
}

// Codes of a tensor in float8 by rows, with other scales.
Packed some_tiles(const Shape& shape) {
  Packed rows(DType::f8_rows, shape), tiles(DType::f8_blocks, shape);
  encode(values(shape.elements()).data(), rows.tensor);
  const size_t at = scales_at(DType::f8_blocks, shape);
  std::copy_n(rows.memory.begin(), shape.elements(), tiles.memory.begin());
  auto* const scales = reinterpret_cast<float*>(tiles.memory.data() + at);
  for (size_t i = 0; i < (tiles.memory.size() - at) / sizeof(float); ++i) {
    scales[i] = normal(8, 0, i);
  }
  return tiles;
}

Packed some_packed(DType type, const Shape& shape) {
  if (type == DType::f8_blocks) {
    return some_tiles(shape);
  }
  if (!can_encode(type)) {
    return some_blocks(type, shape);
  }
  Packed packed(type, shape);
  encode(values(shape.elements()).data(), packed.tensor);
  return packed;
}

// Shapes with rows, blocks and ends that are no multiples of what a kernel takes at a time.
std::vector<Shape> shapes_of(DType type) {
  if (packing_of(type).scales == Packing::Scales::inside) {
    return {{1, 256}, {3, 512}, {70, 1280}};
  }
  if (type == DType::mxfp4) {
    return {{32, 1}, {1, 64, 63}, {3, 96, 65}, {2, 32, 264}, {5, 288, 128}};
  }
  return {{1, 1}, {1, 63}, {3, 65}, {7, 100}, {5, 1031}, {64, 64}, {129, 264}, {300, 896}};
}

TEST(PackedWeights, a_gpu_decodes_to_the_same_bits_rounded_once) {
  Device* const gpu = test_gpu();
  if (gpu == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  for (int t = static_cast<int>(DType::nf4); t <= static_cast<int>(DType::mxfp4); ++t) {
    const auto type = static_cast<DType>(t);
    for (const Shape& shape : shapes_of(type)) {
      const Packed packed = some_packed(type, shape);
      const int64_t count = shape.elements();
      std::vector<float> wide(static_cast<size_t>(count));
      decode(packed.tensor, wide.data(), nullptr);
      const Buffer from = gpu->allocate(packed.memory.size());
      gpu->upload(from.data(), packed.memory.data(), packed.memory.size());
      for (const DType to : {DType::f32, DType::bf16, DType::f16}) {
        SCOPED_TRACE(std::string(name_of(type)) + " " + shape.text() + " as " +
                     std::string(name_of(to)));
        std::vector<std::byte> want(wide.size() * size_of(to)), got(want.size());
        convert_from_f32(to, wide.data(), count, want.data());
        const Buffer memory = gpu->allocate(want.size());
        Tensor y{memory.data(), shape, to};
        kernels(*gpu).widen(*gpu, {from.data(), shape, type}, y);
        gpu->download(got.data(), memory.data(), got.size());
        EXPECT_EQ(std::memcmp(got.data(), want.data(), want.size()), 0);
      }
    }
  }
}

TEST(PackedWeights, a_gpu_packs_into_the_same_bytes) {
  Device* const gpu = test_gpu();
  if (gpu == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  for (int t = static_cast<int>(DType::nf4); t <= static_cast<int>(DType::f8_rows); ++t) {
    const auto type = static_cast<DType>(t);
    for (const Shape& shape : shapes_of(type)) {
      SCOPED_TRACE(std::string(name_of(type)) + " " + shape.text());
      std::vector<float> x = values(shape.elements());
      for (size_t i = 0; i < x.size() && shape[0] > 100; ++i) {
        x[i] = i % 5000 < 300 ? 0.0F : x[i];  // whole blocks of zeros, and a row of them
      }
      Packed want(type, shape);
      encode(x.data(), want.tensor);
      const Buffer from = gpu->allocate(x.size() * sizeof(float));
      gpu->upload(from.data(), x.data(), from.size());
      const Buffer memory = gpu->allocate(want.memory.size());
      const std::vector<std::byte> dirt(want.memory.size(), std::byte{0xff});
      gpu->upload(memory.data(), dirt.data(), dirt.size());
      Tensor packed{memory.data(), shape, type};
      kernels(*gpu).pack(*gpu, {from.data(), shape, DType::f32}, packed);
      std::vector<std::byte> got(want.memory.size());
      gpu->download(got.data(), memory.data(), got.size());
      EXPECT_EQ(got, want.memory);
    }
  }
}

}  // namespace
}  // namespace sft::testing
