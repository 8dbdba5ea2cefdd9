// Chat templates: a conversation -> the text a model is trained on, as transformers renders it
// (Jinja, trim_blocks and lstrip_blocks on, loop controls, {% generation %}, tojson, ...).
// Used by the data layer and by `sft generate`.
//
// A ChatTemplate is parsed once and may render from many threads at once; copying it is cheap.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "jinja/errors.h"
#include "text/span.h"

namespace sft {

struct RenderOptions {
  bool add_generation_prompt = false;     // end with the header of an assistant turn
  bool continue_final_message = false;    // end inside the last message, so that it can be gone on
  Json tools;                             // an array of tool definitions, or null
  Json documents;                         // an array, or null
  Json kwargs;                            // more variables (enable_thinking, ...), or null
  int64_t most_steps = jinja::kMaxSteps;  // M154 for a rendering that needs more
};

struct RenderedChat {
  std::string text;
  // Bytes of `text` written inside {% generation %} blocks: what the model is to learn to say.
  std::vector<Span> generation;
  bool has_generation_markers = false;
};

class ChatTemplate {
 public:
  // `special_tokens`: an object of bos_token, eos_token, pad_token, ... as tokenizer_config.json
  // has them (strings, or objects with "content"; null ones are left out). `name` is the file shown
  // in errors. M150 with the line for a syntax error, M155 for a tag that is not supported.
  explicit ChatTemplate(std::string source, Json special_tokens = Json::object(),
                        std::string name = "chat_template.jinja");
  // For a base model without a template: <|im_start|>role\ncontent<|im_end|>\n.
  static ChatTemplate chatml(Json special_tokens = Json::object());
  // This template, but rows with tools are rendered by the other, as transformers does with one
  // named "tool_use".
  ChatTemplate with_tool_use(const ChatTemplate& tool_use) const;

  // `messages`: an array of objects with "role", "content", ...; members that are null count as
  // missing, as in transformers. M151 with the template's own words
  // where it refuses them; M152-M154, M156, M158, M160, M161 where it fails; M157 for messages or
  // options of the wrong shape; M159 where continue_final_message cannot be done.
  RenderedChat render(const Json& messages, const RenderOptions& options = {}) const;

  bool has_generation_markers() const;
  const std::string& source() const;
  // The sources of this template and of the one for tools, to tell templates apart by.
  std::string sources() const;
  const std::string& name() const;
  const Json& special_tokens() const;

  // The template to render with when only assistant turns are trained: one with generation markers,
  // where this one is a known template that lacks them, else itself. As in TRL, those of Qwen3 and
  // its successors then write the thinking block in every turn, and DeepSeek-R1-Distill's keeps the
  // reasoning it would cut, so their text differs from this template's.
  ChatTemplate for_assistant_mask() const;

 private:
  struct Parts;
  std::shared_ptr<const Parts> parts_;
};

struct AssistantSpans {
  std::vector<Span> spans;      // of the assistant turns found, in order
  std::vector<size_t> turns;    // the message of each span; empty where markers do not tell
  std::vector<size_t> missing;  // positions in `messages` of assistant turns that were not found
};

// Where, in `full_text` (what `render(messages, options)` gave), each assistant turn stands that
// the model would have to write: its content and the end-of-turn token. For templates without
// generation markers: found by comparing renderings of the conversation cut before and after each
// turn, so it costs about three renderings a turn. A turn whose place is not certain is reported in
// `missing`, never guessed.
AssistantSpans assistant_spans(const ChatTemplate& chat_template, const Json& messages,
                               const RenderOptions& options, const std::string& full_text);

// The source with {% generation %} markers added, for the known templates that lack them.
std::optional<std::string> add_generation_markers(std::string_view source);

}  // namespace sft
