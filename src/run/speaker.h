// A model that answers: it keeps what it has read, so that a conversation that goes on costs only
// what is new. Used by `sft chat`.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/json.h"
#include "run/generator.h"
#include "run/open_run.h"

namespace sft {

struct Answer {
  std::string text;
  int64_t read = 0, kept = 0;  // tokens of the conversation: read now, and known from before
  int64_t written = 0;
  bool ended = false;    // by the model itself
  bool stopped = false;  // by `stop`
  double seconds = 0;    // of writing
};

class Speaker {
 public:
  // Keeps a reference to the run. `context`: how many tokens a conversation may have, 0 as many as
  // the model takes. D071 for a model without a chat template.
  Speaker(OpenRun& run, int64_t context);

  const std::string& name() { return run_.source().name(); }

  // Answers the messages; `on_text` gets the answer piece by piece, `stop` is asked after each
  // token. M037 where the conversation leaves no room for an answer.
  Answer answer(const Json& messages, int64_t max_new_tokens, const SamplingOptions& options,
                const std::function<void(const std::string&)>& on_text,
                const std::function<bool()>& stop);

 private:
  OpenRun& run_;
  int64_t context_;
  Generator generator_;
  std::vector<int32_t> ends_;
  std::vector<int32_t> known_;  // what the generator has taken in
};

}  // namespace sft
