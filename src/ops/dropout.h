// Dropout before adapters, of attention's weights, and of what layers add. Srivastava et al.
// (2014). Which values are dropped depends on the step, the document, the token's place in it, and
// the layer, never on how rows are laid out, shared among ranks or computed again.
#pragma once

#include "device/kernel.h"
#include "graph/program.h"

namespace sft {

// What a program is given for it.
struct DropoutInputs {
  Value keys;       // (tokens, 2) i32: a number for the document, and the place in it
  Value kept_keys;  // (kept, 2): of the rows that the last block goes on with; null: all
  Value seed;       // (2) i32, the step's
};

struct Dropout {
  float rate = 0.0F;  // 0: none
  uint32_t site = 0;  // a number of its own: adapters count from 0, see DropoutPlace
  DropoutInputs inputs{};
};

// Where a model drops by itself, as its config.json says.
enum class DropoutPlace : uint32_t { embedding = 1, attention, attention_output, mlp_output };
constexpr uint32_t dropout_site(DropoutPlace place, int layer) {
  return static_cast<uint32_t>(place) << 28 | static_cast<uint32_t>(layer);
}

// x (tokens, n) -> (tokens, n): see emit_dropout. x itself where nothing is dropped.
Value dropout(Program& p, Value x, const Dropout& dropout);

// x (tokens, n) -> (tokens, n): with probability `rate` a value is zero, else it is divided by
// 1 - rate. Only the instruction: `emit_dropout` of a gradient is its derivative.
void emit_dropout(Program& p, Value x, const Dropout& dropout, Output y);

// y (+)= the above
SFT_KERNEL(void, dropout, const Tensor& x, const Tensor& keys, const Tensor& seed, float rate,
           uint32_t site, Tensor& y, bool accumulate);

}  // namespace sft
