// How config.json says that a model's weights are kept: its quantization_config. Used by HfSource,
// and where there is nothing but a config.json (`sft bench`).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/json.h"
#include "model/quantisation.h"

namespace sft {

class ConfigQuantisation {
 public:
  ConfigQuantisation() = default;  // weights are as they are
  // `model`: what the user called it, `file`: where `config` is from. M243 for a method that is not
  // read, C202 for a key with a wrong value.
  ConfigQuantisation(const Json& config, const std::string& model, const std::string& file);

  // "MXFP4"; "" where weights are as they are.
  std::string words() const;
  const BnbConfig* bnb() const { return bnb_ ? &*bnb_ : nullptr; }
  // The packed type of a weight, by its Hugging Face name; none: it stays as it is.
  std::optional<DType> type_of(const std::string& weight) const;

 private:
  // Fine-grained float8.
  struct Float8 {
    bool tiles = true;               // else one scale a tensor
    std::vector<std::string> skips;  // layers that stay as they are
    bool skips_head = true;          // no list is given
  };
  static Float8 read_float8(const Json& config, const std::string& file);

  std::optional<BnbConfig> bnb_;
  std::optional<Float8> float8_;
  std::optional<std::vector<std::string>> mxfp4_skips_;  // of MXFP4: layers that stay as they are
};

}  // namespace sft
