// The "pre_tokenizer" of tokenizer.json: cuts a text into the pieces that BPE then works on.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/json_fwd.h"
#include "text/aligned_text.h"
#include "text/pattern.h"

namespace sft {

// A text and its pieces, in order; what lies between two pieces has been removed.
struct SplitText {
  AlignedText text;
  std::vector<Span> pieces;
  // Each byte of a piece stands for its character of the byte-level alphabet: the last stage was
  // ByteLevel, and the rewriting it asks for is left to BPE.
  bool raw_bytes = false;
  // Room for the stages to work in, kept between texts.
  std::vector<Span> next_pieces;
  std::vector<PatternPart> parts;
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(SplitText& split) const = 0;
  // The pieces depend on where the text stands in the original, so its origins must be tracked.
  virtual bool needs_origins() const { return false; }
};

// Writes the pieces in the byte-level alphabet, which raw_bytes had only promised.
void spell_out_bytes(SplitText& split);

// Null for a null `json`. M103 for a type that is not supported, M100 for a malformed one.
std::unique_ptr<PreTokenizer> make_pre_tokenizer(const Json& json, const std::string& where);

}  // namespace sft
