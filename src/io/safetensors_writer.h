// Writes safetensors files, converting from float32 while writing. Used by the model saver and by
// checkpoints. Memory: a few buffers of a few MiB, whatever the size of the model.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "io/written_file.h"

namespace sft {

// A tensor as a file gets it. Whoever holds its bytes fills pieces of them when asked, front to
// back and one at a time though perhaps on changing threads, so that what lies on a device or with
// other ranks need not be here as a whole.
struct StreamedTensor {
  std::string name;  // global
  DType dtype = DType::f32;
  Shape shape;  // global
  // Fills `into` with the bytes from `begin` on.
  std::function<void(uint64_t begin, std::span<std::byte> into)> fill;
  std::string_view spelling{};           // of its type in the file, where it is stored as it is
  std::vector<int64_t> spelled_shape{};  // likewise of its shape; empty: `shape`
};
// Of tensors in this process's memory, which must outlive the result.
std::vector<StreamedTensor> streamed(std::span<const NamedTensor> tensors);
// The same tensor in float32; the holder of a narrower one is asked for fewer bytes.
StreamedTensor widened(const StreamedTensor& tensor);

// One file with all `tensors` in the given order, stored as `dtype` (f32, f16 or bf16; f32 tensors
// are converted, tensors of another dtype are stored as they are). Metadata is {"format": "pt"},
// without which transformers refuses a file. S001 when it cannot be written.
WrittenFile write_safetensors(const fs::path& path, std::span<const StreamedTensor> tensors,
                              DType dtype, ThreadPool* pool = nullptr);

// model.safetensors, or model-00001-of-0000N.safetensors and their index when the tensors take more
// than `max_shard_bytes`; a tensor is never split. All files are renamed into place together, and
// weights of an earlier save that would shadow or contradict the new ones are removed after that.
std::vector<WrittenFile> write_safetensors_shards(const fs::path& folder,
                                                  std::span<const StreamedTensor> tensors,
                                                  DType dtype, uint64_t max_shard_bytes,
                                                  ThreadPool* pool = nullptr);

// "5GB", "500MB", "2GiB", "1000000" -> bytes, as --max_shard_size takes it (GB = 10^9). C090 for
// anything else or for zero.
uint64_t parse_byte_size(std::string_view text);

}  // namespace sft
