// Answers to many prompts, several at a time: a lane that is done takes the next prompt. Used by
// `sft generate`, `sft eval` and for looking at a model in training.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "run/generator.h"

namespace sft {

struct Writing {
  std::vector<int32_t> ids;  // without the token that ended it
  bool ended = false;        // by the model itself
};

struct WritingRules {
  int64_t max_new_tokens = 128;
  SamplingOptions sampling;   // each prompt has draws of its own, whatever is written beside it
  std::vector<int32_t> ends;  // tokens that end an answer
  // Asked after each token: whether the answer to this prompt is over.
  std::function<bool(size_t prompt, std::span<const int32_t> ids)> stops{};
};

class BatchWriter {
 public:
  // Keeps a reference.
  BatchWriter(Generator& generator, WritingRules rules)
      : generator_(generator), rules_(std::move(rules)) {}

  // Each run of a program is a round. `pace` is asked before each, told whether there is anything
  // left to do here; where it says no, writing ends at once. Where it says yes and nothing is left
  // here, a round is run all the same, for ranks that share out the weights.
  using Pace = std::function<bool(bool has_work)>;
  // Answers prompt `numbers[i]`, which numbers its draws, for each i; `on_done(i, writing)` is
  // called as they are done, in no order. A prompt leaves room for at least one new token (M037).
  void write(std::span<const std::vector<int32_t>> prompts, std::span<const int64_t> numbers,
             const std::function<void(size_t, const Writing&)>& on_done, const Pace& pace = {});

 private:
  struct Lane {
    size_t lane = 0;            // of the generator
    size_t prompt = 0;          // which one is answered
    std::vector<int32_t> text;  // the prompt and what was written
    size_t read = 0;            // tokens of it that the generator has taken in
    Writing writing;
    size_t unread() const { return text.size() - read; }
  };
  void read_piece(Lane& lane);
  void go_on(std::span<Lane> going);
  int32_t pick(const Lane& lane, std::span<const float> logits) const;
  // Whether the lane goes on, with this token.
  bool take(Lane& lane, int32_t next);

  Generator& generator_;
  WritingRules rules_;
  std::span<const int64_t> numbers_;
  std::vector<Lane> lanes_;
  std::vector<size_t> done_;  // in lanes_
  size_t round_ = 0;          // whose turn it is, where one steps at a time
};

}  // namespace sft
