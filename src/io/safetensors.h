// Reads safetensors files: one file, or the shards that model.safetensors.index.json lists. Used by
// ModelSource and by checkpoints. The files are mapped, nothing is copied until a tensor is read,
// and every number in the header is checked against the file before it is believed.
// Layout: u64 header bytes, JSON header, data; https://huggingface.co/docs/safetensors
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/dtype.h"
#include "core/file.h"
#include "core/thread_pool.h"
#include "graph/parameter.h"

namespace sft {

struct StoredTensor {
  std::string name;
  std::string dtype;           // as the file spells it: "F32", "BF16", "F8_E4M3", ...
  std::vector<int64_t> shape;  // any rank; {} is a scalar
  uint64_t begin = 0;          // bytes from the start of the data section
  uint64_t end = 0;

  int64_t elements() const { return elements_of(shape); }
};

class SafetensorsFile {
 public:
  // M001 when it cannot be read; M200-M207 when it is cut short or its header is not sound.
  explicit SafetensorsFile(const fs::path& path);

  const fs::path& path() const { return file_.path(); }
  // In the order of their data.
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  const StoredTensor* find(std::string_view name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  std::span<const std::byte> raw(const StoredTensor& tensor) const;
  // Writes the values of `part` of the tensor as floats. M246 when its dtype is not F32, F16 or
  // BF16.
  void read_f32(const StoredTensor& tensor, ElementRange part, float* destination,
                ThreadPool* pool = nullptr) const;
  void read_f32(const StoredTensor& tensor, float* destination, ThreadPool* pool = nullptr) const {
    read_f32(tensor, {0, tensor.elements()}, destination, pool);
  }

 private:
  void check_layout() const;

  MappedFile file_;
  uint64_t data_start_ = 0;
  std::vector<StoredTensor> tensors_;
  std::unordered_map<std::string_view, size_t> by_name_;
  std::map<std::string, std::string> metadata_;
};

// The tensors of a folder, whichever way they are split.
class SafetensorsFolder {
 public:
  // Whether `folder` holds model.safetensors or model.safetensors.index.json.
  static bool is_in(const fs::path& folder);
  // M210-M212 for an index that is not sound or names what is not there; else as above.
  explicit SafetensorsFolder(const fs::path& folder);

  struct Entry {
    const SafetensorsFile* file;
    const StoredTensor* tensor;
  };
  const std::vector<std::string>& names() const { return names_; }
  std::optional<Entry> find(const std::string& name) const;

 private:
  void open_single(const fs::path& path);
  void open_index(const fs::path& folder, const fs::path& index);

  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, Entry> entries_;
};

}  // namespace sft
