// A model in a Hugging Face folder with safetensors weights. Made by ModelSource::open.
#pragma once

#include <unordered_map>

#include "io/model_source.h"
#include "io/safetensors.h"

namespace sft {

class HfSource : public ModelSource {
 public:
  HfSource(std::string name, const fs::path& folder);

  std::string format() const override { return "safetensors"; }
  const std::vector<std::string>& names() const override { return names_; }
  bool has(const std::string& name) const override { return stored_name_.contains(name); }
  Shape shape(const std::string& name) const override;
  using ModelSource::read_f32;
  void read_f32(const std::string& name, ElementRange part, float* destination,
                ThreadPool* pool) const override;
  DType stored_dtype() const override { return stored_dtype_; }
  std::optional<std::string> file_text(const std::string& file) const override;

 protected:
  std::map<std::string, std::string> additional_templates() const override;

 private:
  void check_config() const;
  void map_names();
  SafetensorsFolder::Entry entry(const std::string& name) const;

  SafetensorsFolder weights_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, std::string> stored_name_;  // by Hugging Face name
  DType stored_dtype_ = DType::f32;
};

}  // namespace sft
