// The tokenizer and chat template of a run, from the model's files and the options. Used by
// training, generation and inspection.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "chat/chat_template.h"
#include "core/log.h"
#include "data/options.h"
#include "io/model_saver.h"
#include "io/model_source.h"
#include "model/options.h"
#include "text/tokenizer.h"

namespace sft {

struct TextSetup {
  Tokenizer tokenizer;
  std::optional<ChatTemplate> chat{};              // the model's, or ChatML when it has none
  bool chat_is_default = false;                    // ChatML, because the model has none
  std::optional<std::string> replaced_template{};  // given by --chat_template_path
  std::optional<TokenRef> turn_end{};              // what the template puts at the end of a turn
  std::string key{};                               // of the tokenizer's contents, for caches
  std::vector<std::string> warnings{};             // what is unusual about the model's files
  std::optional<int32_t> pad_id{};                 // --pad_token's
  // What TRL pads with: --pad_token, else the tokenizer's, else the token that ends a text.
  std::optional<int32_t> padding() const;
};

// The model that a run is about. Where --chat_template_path is a model, with the tokens, the EOS
// and the vocabulary that this brings, as in TRL; a line says so.
std::unique_ptr<ModelSource> open_source(const ModelOptions& model, const DataOptions& data,
                                         const HubEnvironment& hub, const Logger& log);

// M250 when the model comes without a tokenizer; D070 for a --chat_template_path that cannot be
// used, D072 when the template asked for is not among those there are.
TextSetup load_text(const ModelSource& source, const DataOptions& options,
                    const HubEnvironment& hub);

// The special token that a template puts behind an answer; nothing where that cannot be told.
std::optional<TokenRef> find_turn_end(const Tokenizer& tokenizer, const ChatTemplate& chat);

// The ids that end a generated turn: the tokenizer's, generation_config.json's and the template's.
std::vector<int32_t> end_tokens(const ModelSource& source, const TextSetup& text);

}  // namespace sft
