// A model in a Hugging Face folder with safetensors weights. Made by ModelSource::open.
#pragma once

#include <functional>
#include <mutex>
#include <unordered_map>

#include "io/config_quantisation.h"
#include "io/joined_experts.h"
#include "io/model_source.h"
#include "io/packed_tensors.h"
#include "io/safetensors.h"
#include "io/text_part.h"

namespace sft {

class HfSource : public ModelSource {
 public:
  // `fetch` brings the weights into the folder; it is called when they are first asked for. Without
  // it they are there, and opened at once.
  HfSource(std::string name, const fs::path& folder, std::function<void()> fetch = nullptr);

  std::string format() const override;
  const std::vector<std::string>& names() const override { return weights().names; }
  bool has(const std::string& name) const override;
  Shape shape(const std::string& name) const override;
  using ModelSource::read_f32;
  void read_f32(const std::string& name, ElementRange part, float* destination,
                ThreadPool* pool) const override;
  DType stored_dtype() const override { return weights().dtype; }
  bool weights_are_here() const override { return weights_ != nullptr; }
  std::optional<DType> stored_type(const std::string& name) const override;
  bool read_packed(const std::string& name, Tensor& packed) const override;
  std::string quantisation() const override;
  bool is_part() const override { return is_part_; }
  std::string stored_name(const std::string& name) const override;
  std::vector<StreamedTensor> carried() const override;
  const BnbConfig* bnb() const override { return quantisation_.bnb(); }
  std::optional<std::string> file_text(const std::string& file) const override;

 protected:
  std::map<std::string, std::string> additional_templates() const override;

 private:
  struct Weights {
    Weights(const fs::path& folder, bool tied, bool part);
    // Whether it has a head and an embedding, and they are not the same.
    bool head_differs() const;
    // By the name in the files.
    void read(const std::string& name, ElementRange part, float* destination,
              ThreadPool* pool) const;
    SafetensorsFolder files;
    PackedTensors packed;
    std::vector<std::string> names;
    std::unordered_map<std::string, std::string> stored;  // by Hugging Face name
    std::vector<std::string> beside;                      // the larger model's other tensors
    TextNames text_names;
    DType dtype = DType::f32;
  };
  const Weights& weights() const;
  void check_config();
  bool says_tied() const;
  void settle_head();
  // The tensor that holds an expert's matrix among others; none for what has one of its own, and
  // where that tensor is packed.
  std::optional<ExpertPlace> joined_place(const std::string& name) const;
  SafetensorsFolder::Entry entry(const std::string& name) const;

  bool is_part_ = false;
  ConfigQuantisation quantisation_;
  std::function<void()> fetch_;
  mutable std::mutex opening_;
  mutable std::unique_ptr<Weights> weights_;
  // Read when the model was opened: its folder may be gone when the trained model is saved.
  std::unordered_map<std::string, std::string> texts_;
};

}  // namespace sft
