// The "decoder" of tokenizer.json: turns token texts back into text.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/budget.h"
#include "core/json_fwd.h"

namespace sft {

class Decoder {
 public:
  virtual ~Decoder() = default;
  // Rewrites the list of token texts; the text is what they are joined to.
  virtual void apply(std::vector<std::string>& tokens, Budget& budget) const = 0;
  // Every token becomes its bytes and nothing else happens, so text can be decoded token by token.
  virtual bool is_byte_level() const { return false; }
};

// Null for a null `json`. M105 for a type that is not supported, M100 for a malformed one.
std::unique_ptr<Decoder> make_decoder(const Json& json, const std::string& where);

}  // namespace sft
