#include "ops/next_token.h"

#include "ops/kernels.h"

namespace sft {

void emit_next_token(Program& p, Value logits, const StepState& state) {
  p.emit("next_token", {logits, state.tokens, state.positions, state.past, state.written}, {},
         [](const Run& r) {
           kernels(r).next_token(r.device(), r.in(0), r.kept(1), r.kept(2), r.kept(3), r.kept(4));
         });
}

namespace cpu {

void next_token(Device& /*device*/, const Tensor& logits, Tensor& tokens, Tensor& positions,
                Tensor& past, Tensor& written) {
  const int64_t vocab = logits.shape[1];
  for (int64_t text = 0; text < logits.shape[0]; ++text) {
    const float* const row = logits.f32() + text * vocab;
    int32_t best = 0;
    for (int32_t i = 1; i < vocab; ++i) {
      best = row[i] > row[best] ? i : best;
    }
    int32_t* const place = past.i32() + 2 * text;
    written.i32()[place[0] + place[1]] = best;
    tokens.i32()[text] = best;
    ++positions.i32()[text];
    ++place[1];
  }
}

}  // namespace cpu

}  // namespace sft
