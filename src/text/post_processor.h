// The "post_processor" of tokenizer.json: special tokens around a text, and trimmed spans.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/json_fwd.h"
#include "text/span.h"

namespace sft {

class PostProcessor {
 public:
  PostProcessor() = default;  // does nothing
  // M104 for a type that is not supported, M100 for a malformed one.
  PostProcessor(const Json& json, const std::string& where);

  // One step: either trims spans or puts special tokens around the ids so far.
  struct Step {
    bool trims = false;
    bool keeps_first_space = false;  // a leading space that was added is not trimmed
    // What stands around the text: ids, and kText where the text goes.
    std::vector<int32_t> layout;
  };
  static constexpr int32_t kText = -1;

  const std::vector<Step>& steps() const { return steps_; }

 private:
  void add(const Json& json, const std::string& where);
  void add_template(const Json& json, const std::string& where);

  std::vector<Step> steps_;
};

// Takes white space off both ends of a token's span, as ByteLevel with trim_offsets does. `token`
// is the token as the vocabulary spells it.
Span trim_span(std::string_view text, std::string_view token, Span span, bool is_first,
               bool keeps_first_space);

}  // namespace sft
