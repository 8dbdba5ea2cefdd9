// The fields of a LoraConfig in JSON, as PEFT 0.21 names and means them. Used by LoraConfig alone.
#pragma once

#include <string>
#include <vector>

#include "model/lora_config.h"

namespace sft {

class LoraFields {
 public:
  // C192 where it is no object. Keeps a reference.
  LoraFields(const Json& json, std::string where);

  // C192 where it is not a low-rank adapter's.
  void check_kind() const;
  // Writes those that are there. C192 names one that is not supported, or has a wrong value; one
  // that PEFT does not have may be null or empty.
  void read(LoraConfig& config) const;
  // C192 for what an adapter that is there may have begun with and a new one cannot, and for any
  // name that PEFT does not have.
  void check_new(const LoraConfig& config) const;

  static const char* name_of(TrainedBiases biases);

 private:
  [[noreturn]] void fail(const std::string& key, const std::string& wanted) const;
  [[noreturn]] void fail_unknown(const std::string& key) const;
  bool has(const std::string& key) const;
  void check_names() const;
  void number(const char* key, double least, double most, double& into) const;
  void flag(const char* key, bool& into) const;
  int64_t rank(const char* key, const Json& value) const;
  std::vector<std::string> names(const char* key) const;
  void names_or_expression(const char* key, std::vector<std::string>& names,
                           std::optional<std::string>& expression) const;
  void init(LoraConfig& config) const;
  void biases(LoraConfig& config) const;
  void layers(LoraConfig& config) const;
  void patterns(LoraConfig& config) const;
  std::vector<int64_t> token_list(const Json& list) const;
  void tokens(LoraConfig& config) const;

  const Json& json_;
  const std::string where_;
};

}  // namespace sft
