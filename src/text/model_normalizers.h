// Normalizers that came with particular models: BERT's, SentencePiece's Precompiled, and Nmt. Used
// by normalizer.cpp alone.
#pragma once

#include <memory>
#include <string>

#include "core/json_fwd.h"
#include "text/normalizer.h"

namespace sft {

std::unique_ptr<Normalizer> make_bert_normalizer(const Json& json, const std::string& where);
// M118 for a damaged map.
std::unique_ptr<Normalizer> make_precompiled(const Json& json, const std::string& where);
std::unique_ptr<Normalizer> make_nmt();

// The lower case of every character.
void lowercase(AlignedText& text);

}  // namespace sft
