// A model in a GGUF file, shown as a Hugging Face folder. Made by ModelSource::open.
#pragma once

#include <functional>
#include <mutex>
#include <unordered_map>

#include "io/gguf/family.h"
#include "io/gguf/file.h"
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
  bool has(const std::string& name) const override { return tensors_.contains(name); }
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
  const GgufTensor& tensor(const std::string& name) const;
  const std::byte* values(const GgufTensor& tensor) const;
  // The heads of a tensor whose rows were permuted, 0 for any other.
  int64_t permuted_heads(const std::string& name) const;
  // Calls `each` with the number of a row and its bytes in the file.
  void each_permuted_row(
      const std::string& name, int64_t heads, ThreadPool* pool,
      const std::function<void(int64_t row, const std::byte* bytes)>& each) const;

  GgufFile file_;                // or its head
  std::function<void()> fetch_;  // null: `file_` is whole
  mutable std::mutex opening_;
  mutable std::unique_ptr<GgufFile> fetched_;
  const GgufFamily& family_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, const GgufTensor*> tensors_;
  const GgufType* main_type_ = nullptr;  // of most of the weights
  DType stored_dtype_ = DType::f32;
};

}  // namespace sft
