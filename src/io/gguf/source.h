// A model in a GGUF file, shown as a Hugging Face folder. Made by ModelSource::open.
#pragma once

#include <functional>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

#include "io/gguf/arrangement.h"
#include "io/gguf/family.h"
#include "io/gguf/file.h"
#include "io/gguf/names.h"
#include "io/model_source.h"

namespace sft {

class GgufSource : public ModelSource {
 public:
  GgufSource(std::string name, const fs::path& file);
  // A file of the hub, of which `head` holds the beginning at least as far as the tensors' list, in
  // its full length; `fetch` brings the whole to `file` when values are first asked for.
  GgufSource(std::string name, const fs::path& file, const fs::path& head,
             std::function<void()> fetch);

  std::string format() const override;
  const std::vector<std::string>& names() const override { return names_; }
  // Also for a tensor of joined experts, which a saved folder has again.
  bool has(const std::string& name) const override {
    return tensors_.contains(name) || joined_.contains(name);
  }
  Shape shape(const std::string& name) const override;
  using ModelSource::read_f32;
  void read_f32(const std::string& name, ElementRange part, float* destination,
                ThreadPool* pool) const override;
  DType stored_dtype() const override { return stored_dtype_; }
  bool weights_are_here() const override;
  std::optional<DType> stored_type(const std::string& name) const override;
  bool read_packed(const std::string& name, Tensor& packed) const override;
  std::string quantisation() const override;
  std::optional<std::string> file_text(const std::string& file) const override;

 private:
  // A published tensor: the parts of the file's tensors that it is made of.
  struct Part {
    const GgufTensor* tensor;
    GgufPlace place;
  };
  struct Entry {
    std::vector<Part> parts;
    Shape shape;
    Arrangement arrangement;
    bool is_turned() const { return parts[0].place.turned || parts[0].place.turns > 1; }
    // Its rows are those of two tensors, one behind the other.
    bool is_stacked() const { return parts.size() > 1 && !is_turned(); }
  };

  Entry made_of(const std::string& name) const;
  const Entry& entry(const std::string& name) const;
  // The bytes of a part, from its first row on.
  const std::byte* values(const Part& part) const;
  const std::byte* values(const GgufTensor& tensor) const;
  void read_rows(const Entry& entry, ElementRange part, float* destination, ThreadPool* pool) const;
  // The rows of an entry whose rows or columns are stored in another order, from `begin` on: calls
  // `take(row, type, bytes)` for each.
  template <class Take>
  void each_row(const Entry& entry, int64_t begin, int64_t end, const Take& take) const;
  // The length of an entry's rows; M245 where its rows or columns are not those of heads.
  int64_t width_of(const Entry& entry) const;
  // One expert's matrix of a tensor that holds all, as it is published. `turned_` keeps the last
  // one, as pieces of a tensor follow each other.
  const std::vector<float>& turned_matrix(const std::string& name, int64_t expert,
                                          ThreadPool* pool) const;
  void read_mxfp4(const Entry& entry, Tensor& packed) const;

  GgufFile file_;                // or its head
  std::function<void()> fetch_;  // null: `file_` is whole
  mutable std::mutex opening_;
  mutable std::unique_ptr<GgufFile> fetched_;
  const GgufFamily& family_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, Entry> tensors_;
  std::unordered_set<std::string> joined_;
  struct Turned {
    std::string name;
    int64_t expert = -1;
    std::vector<float> values;
  };
  mutable std::mutex turning_;
  mutable Turned turned_;
  const GgufType* main_type_ = nullptr;  // of most of the weights
  DType stored_dtype_ = DType::f32;
};

}  // namespace sft
