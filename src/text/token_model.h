// What turns pieces of text into token ids: the "model" of tokenizer.json. Used by Tokenizer; a
// model is constant after construction.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "text/span.h"
#include "text/vocabulary.h"

namespace sft {

// Where one thread works and remembers words; made by the model that it is used with.
struct ModelScratch {
  virtual ~ModelScratch() = default;
};

class TokenModel {
 public:
  virtual ~TokenModel() = default;
  virtual const Vocabulary& vocabulary() const = 0;
  virtual std::unique_ptr<ModelScratch> make_scratch() const = 0;

  // Appends the ids of pieces of `text`, none of them empty, and to `spans`, when it is given, the
  // bytes of `text` that each token stands for. With `raw_bytes`, which is only for a model that
  // takes them, each byte stands for its character of the byte-level alphabet.
  // M117 for a piece that has no token, when there is no unknown token either.
  virtual void encode(std::string_view text, std::span<const Span> pieces, bool raw_bytes,
                      ModelScratch& scratch, std::vector<int32_t>& ids,
                      std::vector<Span>* spans) const = 0;
  virtual bool takes_raw_bytes(bool with_spans) const {
    (void)with_spans;
    return false;
  }
};

}  // namespace sft
