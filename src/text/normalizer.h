// The "normalizer" of tokenizer.json: rewrites a text before it is cut into words.
#pragma once

#include <memory>
#include <string>

#include "core/json_fwd.h"
#include "text/aligned_text.h"

namespace sft {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void apply(AlignedText& text) const = 0;
};

// Null for a null `json`. M102 for a type that is not supported, M100 for a malformed one.
std::unique_ptr<Normalizer> make_normalizer(const Json& json, const std::string& where);

}  // namespace sft
