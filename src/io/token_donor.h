// A model that takes its chat tokens from another one, as TRL's clone_chat_template does where
// --chat_template_path is a model: the tokens it lacks, the EOS, and a vocabulary that is a
// multiple of 64. Used when a run opens its model; to the loader and the saver it is a model like
// any other.
#pragma once

#include <memory>
#include <string>

#include "core/json.h"
#include "io/model_source.h"

namespace sft {

// What of the other model is asked for.
struct TokenDonor {
  std::string name;
  std::string tokenizer_json;
  Json tokenizer_config;  // an object
};

struct DonatedModel {
  std::unique_ptr<ModelSource> source;
  int64_t tokens = 0;  // that were lacking
  std::string eos;     // "" where the other has none: then the own one stays
  int64_t vocab_before = 0, vocab_after = 0;
};

// New rows of the embeddings, and of a head of its own, are the mean of the old ones, where
// transformers draws from a normal distribution around it whose variance is 1e-9 of theirs. Free
// ids up to the multiple get tokens <extra_id_0>, .... M250 when the model has no tokenizer.
DonatedModel with_tokens_of(std::unique_ptr<ModelSource> model, const TokenDonor& donor);

// A model whose vocabulary an adapter has grown: its tables get that many rows, which the adapter's
// file holds, and the tokenizer is the one beside that file.
std::unique_ptr<ModelSource> with_vocabulary(std::unique_ptr<ModelSource> model, int64_t vocab,
                                             const fs::path& adapter);

}  // namespace sft
