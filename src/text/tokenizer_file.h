// Reads tokenizer.json. The vocabulary and the merges, nearly all of the file, go straight into
// their tables; the small rest becomes Json. Used by Tokenizer alone.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "text/bpe.h"
#include "text/vocabulary.h"

namespace sft {

struct TokenizerFile {
  Json components;  // the file without model.vocab and model.merges; absent parts are null
  Vocabulary vocabulary;
  std::vector<Merge> merges;
  BpeOptions options;
};

// M010 for text that is not JSON, M100 for a part of another shape, M101 for a model that is not
// BPE, M106 for dropout, M107 for a merge of unknown tokens, M109 for a bad id.
TokenizerFile parse_tokenizer_file(std::string_view text, const std::string& name);

}  // namespace sft
