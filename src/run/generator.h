// Text generation with a key-value cache, of one text or of several at a time. Used by `sft
// generate`, `sft chat`, `sft eval` and for looking at a model in training.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "graph/executor.h"
#include "model/generation.h"
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

// Room for so many texts of so many tokens each, prompt included.
struct GeneratorRoom {
  int64_t capacity = 0;
  int64_t lanes = 1;
};

class Generator {
 public:
  // Longer texts go in by pieces: memory does not grow with their length.
  static constexpr int64_t kPiece = 1024;
  static constexpr int64_t kFirstPiece = 8192;  // on a GPU, of a text that begins

  // Keeps references. `arena`: what programs work in; null: one of its own.
  Generator(Device& device, const LoadedModel& model, GeneratorRoom room, Arena* arena = nullptr);
  Generator(Device& device, const LoadedModel& model, int64_t capacity)
      : Generator(device, model, GeneratorRoom{capacity}) {}

  // Takes in the tokens that come next in a lane and returns the logits (vocab) of the one after
  // them; valid until the next call. M037 beyond the capacity, M036 for an id that is not in the
  // vocabulary.
  std::span<const float> feed(std::span<const int32_t> tokens, size_t lane = 0);
  static int64_t most_piece(const Device& device);
  // The most tokens that go in next at one time.
  int64_t piece(size_t lane = 0) const;
  // At most piece() of them, of a text of `length` tokens: one run of a program.
  std::span<const float> feed_piece(std::span<const int32_t> tokens, size_t lane, int64_t length);
  // The next token of each of these lanes, all in one run -> logits (lanes, vocab).
  std::span<const float> step(std::span<const size_t> lanes, std::span<const int32_t> tokens);
  // The same, which gives the likeliest token behind each: no logits come to the host. Not where
  // one_at_a_time.
  std::span<const int32_t> step_likeliest(std::span<const size_t> lanes,
                                          std::span<const int32_t> tokens);
  // Where frequencies depend on a text's length each run has one text: only one lane may step.
  bool one_at_a_time() const { return by_length_; }
  // Whether the keys in a lane were turned otherwise than a text of `length` tokens wants: then it
  // is rewound to 0 and read again. `feed` does so by itself.
  bool turned_otherwise(size_t lane, int64_t length) const;

  // Tokens taken in so far. `rewind` forgets those from `tokens` on, so that a text that begins
  // the same goes on from there; where layers keep states, which do not go back, `feed` then reads
  // those before again, and `step` may only follow a rewind to 0.
  int64_t past(size_t lane = 0) const { return past_[lane]; }
  void rewind(int64_t tokens, size_t lane = 0);

  // Who is told where programs are (graph/block_marks.h): where ranks share out the weights.
  void watch(BlockWatcher* watcher) { bindings_.watcher = watcher; }

  // Goes on behind `logits`, what the last run gave for the lane: up to `max_new_tokens` picked
  // tokens, each given to `on_token`, until that returns false (an end token, say) or the capacity
  // is reached. The last token given is not taken in.
  void write(std::span<const float> logits, int64_t max_new_tokens, const SamplingOptions& options,
             const std::function<bool(int32_t)>& on_token, size_t lane = 0);
  // Feeds `prompt` and writes.
  void generate(std::span<const int32_t> prompt, int64_t max_new_tokens,
                const SamplingOptions& options, const std::function<bool(int32_t)>& on_token);

  const GeneratorRoom& room() const { return room_; }
  int64_t vocab() const { return model_.model.config.vocab; }

 private:
  struct Recorded {
    std::unique_ptr<Executor> executor;
    Value logits;
  };
  CacheRoom cache_room() const { return {room_.capacity * room_.lanes, room_.lanes}; }
  Recorded record(const LanesSize& size);
  void bind(std::span<const int32_t> tokens, std::span<const size_t> lanes, int64_t length);
  Recorded& picking(size_t lanes);
  const std::byte* picked_at(size_t lane) const;  // what the next run picks in that lane
  void write_likeliest(int32_t token, int64_t runs, const std::function<bool(int32_t)>& on_token,
                       size_t lane);
  std::span<const float> step_of(std::span<const size_t> lanes, std::span<const int32_t> tokens,
                                 int64_t length);
  std::span<const float> run(Recorded& recorded, std::span<const int32_t> tokens,
                             std::span<const size_t> lanes, int64_t length);

  Device& device_;
  const LoadedModel& model_;
  GeneratorRoom room_;
  std::vector<int64_t> past_;  // of each lane
  bool by_length_ = false;
  // Of longrope: up to so many tokens keys are turned by one set of frequencies, beyond by another,
  // and then all of them. 0: it makes no difference.
  int64_t short_length_ = 0;
  bool states_ = false;  // some layers keep states
  // The tokens of each lane that was fed, where they may have to be read again.
  std::vector<std::vector<int32_t>> taken_;
  std::vector<int64_t> state_of_;    // so many tokens are in a lane's states
  std::vector<int64_t> turned_for_;  // the text's length that a lane's keys were turned for
  Arena own_arena_;
  Arena& arena_;
  std::vector<Buffer> caches_;
  Bindings bindings_;
  LanesSize piece_;  // of `prefill_`
  Recorded prefill_;
  std::map<size_t, Recorded> decode_;   // by lanes
  std::map<size_t, Recorded> picking_;  // the same, which pick the next tokens themselves
  Buffer written_;                      // what they picked, by row of the cache
  Buffer picked_;                       // the last of it, where the host can read it
  Buffer inputs_;
  std::vector<float> logits_;
};

}  // namespace sft
