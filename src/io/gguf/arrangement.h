// How the values of a published tensor lie in a GGUF file: llama.cpp's converter puts some rows and
// columns in another order, and some values through a function. Used by GgufSource and the export.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/json_fwd.h"
#include "io/gguf/family.h"

namespace sft {

// Along one dimension, from `first` on: `blocks` times a table of `a` x `b` groups of `unit` is
// stored as `b` x `a`. What is behind stays where it is. Where there are `widths` there is one
// table, from 0 on, and its `b`-th groups are of the `b`-th width.
struct AxisSwap {
  int64_t first = 0, blocks = 0, a = 1, b = 1, unit = 1;
  std::array<int64_t, 4> widths{};

  bool any() const { return blocks > 0; }
  int64_t end() const;
  // Where what is stored at an index stands in the published tensor, and back.
  int64_t published(int64_t stored) const;
  int64_t stored(int64_t published) const;

 private:
  int64_t moved(int64_t at, int64_t inner, int64_t outer) const;
};

enum class StoredAs : uint8_t { same, plus_one, minus_exp };

struct Arrangement {
  AxisSwap rows, columns;
  // Of a published tensor that is two of a file's, one behind the other: the rows of the first.
  int64_t first_rows = 0;
  StoredAs value = StoredAs::same;
};

// Of a tensor with so many rows, by its published name and the model's config.json.
Arrangement arrangement_of(const GgufFamily& family, const Json& config, std::string_view published,
                           int64_t rows);

// What a file stores for published values, and back. `in_halves`: the published ones are float16,
// and the converter works in that.
void to_stored(StoredAs form, bool in_halves, std::span<float> values);
void to_published(StoredAs form, std::span<float> values);

}  // namespace sft
