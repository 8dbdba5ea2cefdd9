// Text generation with a key-value cache, for `sft generate` and for looking at a model in
// training.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "graph/executor.h"
#include "options/options.h"
#include "state/loaded_model.h"

namespace sft {

struct SamplingOptions {
  bool sample = false;       // false: always the most likely token
  double temperature = 1.0;  // above 0
  int64_t top_k = 50;        // 0: all
  double top_p = 1.0;        // the smallest set of tokens with this probability together
  uint64_t seed = 42;

  void visit(OptionTable& v);  // those that shape the draw; the commands say when there is one
};

// The next token. `draw` numbers the draws of one generation, so that the same seed gives the same
// text. Ties go to the lower id.
int32_t pick_token(std::span<const float> logits, const SamplingOptions& options, uint64_t draw);

class Generator {
 public:
  // Room for `capacity` tokens, prompt included. Keeps references.
  Generator(Device& device, const LoadedModel& model, int64_t capacity);

  // Takes in the tokens that come next and returns the logits (vocab) of the one after them; valid
  // until the next call. M037 beyond the capacity, M036 for an id that is not in the vocabulary.
  std::span<const float> feed(std::span<const int32_t> tokens);

  // Tokens taken in so far. `rewind` forgets those from `tokens` on, so that a text that begins
  // the same goes on from there.
  int64_t past() const { return past_; }
  void rewind(int64_t tokens);

  // Feeds `prompt` and then up to `max_new_tokens` picked tokens, each given to `on_token`, until
  // that returns false (an end token, say) or the capacity is reached.
  void generate(std::span<const int32_t> prompt, int64_t max_new_tokens,
                const SamplingOptions& options, const std::function<bool(int32_t)>& on_token);

 private:
  std::span<const float> feed_piece(std::span<const int32_t> tokens, int64_t length);

  Device& device_;
  const LoadedModel& model_;
  int64_t capacity_, past_ = 0;
  Arena arena_;
  std::vector<Buffer> caches_;
  Bindings bindings_;
  struct Step {
    int64_t tokens;
    std::unique_ptr<Executor> executor;
    Value logits;
  };
  Step prefill_{}, decode_{};
  Buffer inputs_;
  std::vector<float> logits_;
  // Of longrope: up to so many tokens keys are turned by one set of frequencies, beyond by another,
  // and then all of them. 0: it makes no difference.
  int64_t short_length_ = 0;
  std::vector<int32_t> taken_;  // the tokens, where it does
  int64_t cached_length_ = 0;   // of the text that the keys were turned for
};

}  // namespace sft
