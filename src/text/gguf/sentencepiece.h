// The pieces in a tokenizer.model, the file of SentencePiece. Used by the export to GGUF, which
// wants their scores.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sft {

struct SentencePiece {
  std::string text;
  float score = 0;
  int32_t type = 1;  // 1 normal 2 unknown 3 control 4 user-defined 5 unused 6 byte
};

// M283 for bytes that are not such a file.
std::vector<SentencePiece> read_sentencepieces(std::string_view file);

}  // namespace sft
