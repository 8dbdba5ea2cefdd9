// Writes a GGUF file (version 3), a few rows at a time: memory does not grow with the model. Used
// by the export of models and adapters.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "formats/ggml_blocks.h"
#include "io/gguf/write/metadata.h"
#include "io/written_file.h"

namespace sft {

struct GgufOutput {
  std::string name;
  std::vector<int64_t> shape;  // in PyTorch's order
  const GgufType* type = nullptr;
  // Fills `into` with the rows [begin, end); a vector has one row. Called with ranges that begin at
  // a multiple of `together`.
  std::function<void(int64_t begin, int64_t end, float* into)> fill;
  int64_t together = 1;
  // In its place where values are stored in the file's format already: their bytes.
  std::function<void(int64_t begin, int64_t end, std::byte* into)> copy{};

  int64_t width() const { return shape.empty() ? 1 : shape.back(); }
  int64_t rows() const { return elements_of(shape) / width(); }
  uint64_t bytes() const;
};

// How many bytes the file will have.
uint64_t gguf_bytes(const GgufMetadata& metadata, const std::vector<GgufOutput>& tensors);

// S001 when it cannot be written; M280 names a tensor with a value that its type cannot hold. The
// pool may be null.
WrittenFile write_gguf(const fs::path& path, const GgufMetadata& metadata,
                       const std::vector<GgufOutput>& tensors, ThreadPool* pool);

}  // namespace sft
