// A model in a Hugging Face folder with safetensors weights. Made by ModelSource::open.
#pragma once

#include <functional>
#include <mutex>
#include <unordered_map>

#include "io/model_source.h"
#include "io/safetensors.h"

namespace sft {

class HfSource : public ModelSource {
 public:
  // `fetch` brings the weights into the folder; it is called when they are first asked for. Without
  // it they are there, and opened at once.
  HfSource(std::string name, const fs::path& folder, std::function<void()> fetch = nullptr);

  std::string format() const override { return "safetensors"; }
  const std::vector<std::string>& names() const override { return weights().names; }
  bool has(const std::string& name) const override { return weights().stored.contains(name); }
  Shape shape(const std::string& name) const override;
  using ModelSource::read_f32;
  void read_f32(const std::string& name, ElementRange part, float* destination,
                ThreadPool* pool) const override;
  DType stored_dtype() const override { return weights().dtype; }
  bool weights_are_here() const override { return weights_ != nullptr; }
  std::optional<std::string> file_text(const std::string& file) const override;

 protected:
  std::map<std::string, std::string> additional_templates() const override;

 private:
  struct Weights {
    Weights(const fs::path& folder, bool tied);
    // Whether it has a head and an embedding, and they are not the same.
    bool head_differs() const;
    SafetensorsFolder files;
    std::vector<std::string> names;
    std::unordered_map<std::string, std::string> stored;  // by Hugging Face name
    DType dtype = DType::f32;
  };
  const Weights& weights() const;
  void check_config() const;
  bool says_tied() const;
  void settle_head();
  SafetensorsFolder::Entry entry(const std::string& name) const;

  std::function<void()> fetch_;
  mutable std::mutex opening_;
  mutable std::unique_ptr<Weights> weights_;
  // Read when the model was opened: its folder may be gone when the trained model is saved.
  std::unordered_map<std::string, std::string> texts_;
};

}  // namespace sft
