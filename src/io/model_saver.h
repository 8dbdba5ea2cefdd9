// Writes a trained model as a folder that transformers 4 and 5, vLLM and llama.cpp's converter
// load. Used by the trainer for the final model and inside checkpoints. The source's JSON files are
// kept byte for byte but for the keys listed in SaveReport::changes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/json.h"
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "io/model_source.h"
#include "io/safetensors_writer.h"
#include "io/written_file.h"

namespace sft {

struct TokenRef {
  std::string text;
  int64_t id = 0;
};

struct SaveOptions {
  DType dtype = DType::f32;                        // of the weights in the files
  uint64_t max_shard_bytes = 5'000'000'000;        // parse_byte_size("5GB")
  std::optional<TokenRef> turn_end = {};           // the token that training put at a turn's end
  std::optional<TokenRef> eos = {};                // the tokenizer's, where nothing else names one
  std::optional<TokenRef> pad = {};                // the padding token used in training
  std::optional<std::string> chat_template = {};   // replaces the source's
  std::optional<std::string> tokenizer_json = {};  // replaces the source's (tokens were added)
  Json tokenizer_config = Json::object();          // keys to set in tokenizer_config.json
  Json quantization = {};                          // config.json's quantization_config; null: none
  std::string sft_version = {};                    // written to config.json unless empty
  bool untied = false;                             // the head has parted from the embeddings
  bool model_card = true;                          // README.md
  std::string base_model = {};                     // hub id for the card; "" = the source's
  std::vector<std::string> datasets = {};          // hub ids for the card
};

struct SaveReport {
  std::vector<WrittenFile> files;
  // "config.json: dtype, eos_token_id": what differs from the source, for the end summary.
  std::vector<std::string> changes;
};

// Saves `weights` (float32, under their Hugging Face names; a tied lm_head is left out) and the
// source's configuration and tokenizer into `folder`, which is made if need be. Each file appears
// under its final name only when it is whole. S001, S010 when something cannot be written.
SaveReport save_model(const fs::path& folder, const ModelSource& source,
                      std::span<const StreamedTensor> weights, const SaveOptions& options,
                      ThreadPool* pool = nullptr);

// Saves an adapter as PEFT loads it: `weights` under their names in adapter_model.safetensors, in
// float32, `config` as adapter_config.json, and the tokenizer beside them; the base model is named,
// not copied. Errors as above.
SaveReport save_adapter(const fs::path& folder, const ModelSource& source, const Json& config,
                        std::span<const StreamedTensor> weights, const SaveOptions& options,
                        ThreadPool* pool = nullptr);

// Throws M010 or M248 when a JSON file of the source that saving will edit is broken: what
// save_model would notice only when training is over.
void check_savable(const ModelSource& source);

}  // namespace sft
