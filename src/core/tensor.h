// Shapes and tensor views. A Tensor owns nothing: it is a typed, contiguous, row-major window on
// memory that somebody else keeps alive. Through a const one nothing is written: kernels take what
// they read as `const Tensor&` and what they write as `Tensor&`.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "core/dtype.h"

namespace sft {

// Their product: 1 for none.
int64_t elements_of(std::span<const int64_t> dims);

class Shape {
 public:
  static constexpr int kMaxRank = 4;
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims);
  explicit Shape(const std::vector<int64_t>& dims);

  int rank() const { return rank_; }
  int64_t operator[](int axis) const { return dims_[static_cast<size_t>(axis)]; }
  int64_t elements() const { return elements_of({dims_.data(), static_cast<size_t>(rank_)}); }
  std::vector<int64_t> dims() const { return {dims_.begin(), dims_.begin() + rank_}; }
  bool operator==(const Shape&) const = default;
  std::string text() const;  // "(512, 576)"

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

// The bytes of a tensor, scales included.
size_t bytes_of(DType type, const Shape& shape);
// Where the scales of a packed tensor begin: behind its codes.
size_t scales_at(DType type, const Shape& shape);
// How many tiles of kScaleTile cover so many rows, or columns.
int64_t scale_tiles(int64_t length);

struct Tensor {
  void* data = nullptr;
  Shape shape;
  DType dtype = DType::f32;

  template <class T>
  T* as() {
    return static_cast<T*>(data);
  }
  template <class T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
  float* f32() { return as<float>(); }
  const float* f32() const { return as<float>(); }
  int32_t* i32() { return as<int32_t>(); }
  const int32_t* i32() const { return as<int32_t>(); }
  size_t bytes() const { return bytes_of(dtype, shape); }
};

// A tensor under its global (Hugging Face) name: what savers and checkpoints walk.
struct NamedTensor {
  std::string name;
  Tensor tensor;
};

}  // namespace sft
