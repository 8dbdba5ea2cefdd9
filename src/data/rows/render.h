// From a row to token ids and labels, as TRL's trainer prepares them. Used by prepare_dataset and
// `sft inspect`.
#pragma once

#include <optional>
#include <string>

#include "chat/chat_template.h"
#include "core/json.h"
#include "data/options.h"
#include "data/rows/example.h"
#include "data/rows/shapes.h"
#include "text/tokenizer.h"

namespace sft {

struct RenderedRow {
  Example example;               // not truncated
  std::string text;              // what was tokenised; empty for pre-tokenised rows
  bool prefix_mismatch = false;  // the prompt alone does not begin the whole row's tokens
  bool mask_ignored = false;     // completion_mask, where completion_only_loss is not asked for
  bool conversation = false;     // rendered with the chat template
  bool second_bos = false;       // the text began with BOS itself, and one of the two was left out
  bool without_assistant = false;   // assistant_only_loss, and nobody speaks as the assistant
  bool lost_reasoning = false;      // the template left reasoning of a message out
  std::vector<std::string> lost{};  // what the template left out, in words; only when asked for
  std::string stops{};  // the error with which training would end here; only when asked for
};

// What to do with a row that the template refuses, or of which it leaves something out.
enum class Losses { refuse, tell };

class Renderer {
 public:
  // Keeps references to the shape and the tokenizer. `chat_template` may be null when no row is a
  // conversation, else D040 (here, where the first rows tell). D041 assistant_only_loss on data
  // that is no conversation, D046 an eos_token that is no token. `vocab`: the ids that rows with
  // input_ids may use, 0 for those of the tokenizer.
  Renderer(const RowShape& shape, const DataOptions& options, const Tokenizer& tokenizer,
           const ChatTemplate* chat_template, int64_t vocab = 0);

  // Thread-safe with one scratch a thread. Errors stand at `place`: those of the shape, D055 a row
  // that the template refuses, D013 text that is not UTF-8, D044 a template that leaves out all
  // user or all assistant turns, D045 assistant turns whose place in the text cannot be told, D047
  // a token id that the tokenizer does not have. With Losses::tell they are put into `stops`.
  RenderedRow render(const Json& row, const std::string& place, Tokenizer::Scratch& scratch,
                     Losses losses = Losses::refuse) const;

  // "all tokens", "the completion", "the assistant's turns": what is trained, in words.
  std::string trained_part() const;

 private:
  std::string trained_tokens() const;
  RenderedRow render_read(const ShapedRow& shaped, const Json& row, const std::string& place,
                          Tokenizer::Scratch& scratch, Losses losses) const;
  RenderedRow render_shaped(const ShapedRow& row, Tokenizer::Scratch& scratch, Losses losses) const;
  RenderedRow render_text(std::string text, Tokenizer::Scratch& scratch) const;
  RenderedRow render_prompt_completion(const ShapedRow& row, Tokenizer::Scratch& scratch) const;
  RenderedRow render_messages(const ShapedRow& row, Tokenizer::Scratch& scratch,
                              Losses losses) const;
  RenderedRow render_tokens(const ShapedRow& row) const;
  // Whether only the assistant's turns of this row are trained: the option, or its own switches.
  bool assistant_only(const ShapedRow& row) const {
    return assistant_only_ || !row.trained_messages.empty();
  }
  const ChatTemplate& template_of(const ShapedRow& row) const {
    return assistant_only(row) ? *marked_template_ : *template_;
  }
  RenderedChat render_chat(const ShapedRow& row, const Json& messages, bool prompt) const;
  std::vector<Span> trained_spans(const ShapedRow& row, const RenderedChat& chat) const;
  std::vector<Span> switched_spans(const ShapedRow& row, const RenderedChat& chat) const;
  bool covers_turn_end() const;
  std::string with_eos(std::string text) const;
  void drop_second_bos(RenderedRow& row) const;
  void mask_prompt(RenderedRow& row, const std::vector<int32_t>& prompt_ids) const;

  const RowShape& shape_;
  const Tokenizer& tokenizer_;
  std::optional<ChatTemplate> template_, marked_template_;  // the latter for assistant_only rows
  int64_t vocab_;
  std::string eos_;
  std::optional<bool> completion_only_;  // none: as the row's shape says
  bool assistant_only_;
  bool prepared_, documents_apart_;  // skip_prepare_dataset; padding_free, without packing
  bool turn_end_trained_ = true;     // what {% generation %} marks holds the end-of-turn token
};

}  // namespace sft
