// The tensors of safetensors files that are quantised: as bitsandbytes saves them (4 bits with a
// quant_state, 8 bits with SCB), fine-grained float8 (weight_scale_inv), and MXFP4 (_blocks and
// _scales). Each is one published
// tensor with others beside it that say how it is to be read. Used by HfSource.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "core/tensor.h"
#include "io/safetensors.h"

namespace sft {

class PackedTensors {
 public:
  // Keeps a reference to the files. M273 names a tensor whose format is not one of core/dtype.h.
  explicit PackedTensors(const SafetensorsFolder& files);

  struct Entry {
    DType type;
    Shape shape;
    std::map<std::string, std::string> beside;  // what it is -> the name of a tensor
  };
  // By the name in the files; null for a plain tensor.
  const Entry* find(const std::string& name) const;
  // What a tensor of the files is called where it is not packed.
  std::string published_name(const std::string& name) const;
  // Whether a tensor says no more than how another is to be read.
  bool is_beside(const std::string& name) const { return beside_.contains(name); }

  // Fills `packed`, which is of the entry's type and shape.
  void read(const std::string& name, Tensor& packed) const;
  // Its values. The last one that was read is kept, as pieces follow each other.
  void read_f32(const std::string& name, ElementRange part, float* destination,
                ThreadPool* pool) const;

 private:
  struct Held {
    std::string name;
    std::vector<std::byte> bytes;
    Tensor tensor;
  };

  void add_four_bit(const std::string& name, const std::string& state);
  void check_matrix(const std::string& name, const StoredTensor& t) const;
  void add_int8(const std::string& name);
  void add_float8(const std::string& name);
  void add_mxfp4(const std::string& name);
  std::vector<float> floats(const std::string& name, int64_t count) const;
  void copy_bytes(const std::string& name, int64_t count, std::byte* to) const;
  [[noreturn]] void fail(const std::string& name, const std::string& what) const;

  const SafetensorsFolder& files_;
  std::map<std::string, Entry> entries_;
  std::set<std::string> beside_;
  std::map<std::string, float> means_;  // of nested scales, by tensor
  mutable std::mutex reading_;
  mutable std::shared_ptr<const Held> held_;
};

}  // namespace sft
