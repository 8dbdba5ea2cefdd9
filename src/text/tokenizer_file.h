// Reads tokenizer.json. The vocabulary and the merges, nearly all of the file, go straight into
// their tables; the small rest becomes Json. Used by Tokenizer alone.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/json.h"
#include "text/bpe.h"
#include "text/token_model.h"
#include "text/vocabulary.h"

namespace sft {

struct TokenizerFile {
  Json components;  // the file without model.vocab and model.merges; absent parts are null
  std::unique_ptr<TokenModel> model;
};

// M010 for text that is not JSON, M100 for a part of another shape, M101 for a model of an unknown
// type, M106 for dropout, M107 for a merge of unknown tokens, M109 for a bad id, M111 for an
// unknown token that is not in the vocabulary.
TokenizerFile parse_tokenizer_file(std::string_view text, const std::string& name);

}  // namespace sft
