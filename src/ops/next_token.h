// The likeliest token of each text, taken as what the next step of a program that generates reads:
// so that a step needs nothing from the host.
#pragma once

#include "device/kernel.h"
#include "graph/program.h"

namespace sft {

// What a step reads of its texts and leaves for the next one; inputs of the program.
struct StepState {
  Value tokens, positions;  // (texts) i32
  Value past;               // (texts, 2) i32, see cached_attention
  Value written;            // (rows of the cache) i32: the token that came after each one read
};

// logits (texts, vocab). Ties go to the lower id.
void emit_next_token(Program& p, Value logits, const StepState& state);

SFT_KERNEL(void, next_token, const Tensor& logits, Tensor& tokens, Tensor& positions, Tensor& past,
           Tensor& written);

}  // namespace sft
