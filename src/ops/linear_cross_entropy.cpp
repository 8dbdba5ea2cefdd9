#include "ops/linear_cross_entropy.h"

#include <algorithm>

#include "core/error.h"
#include "ops/kernels.h"
#include "ops/linear.h"

namespace sft {

Shape loss_workspace(const Target& target, int64_t tokens, int64_t vocab, int64_t hidden) {
  if (target.device == DeviceKind::cpu) {
    constexpr int64_t kLogits = int64_t{16} << 20;  // 64 MiB of float32
    return {std::clamp<int64_t>(kLogits / vocab / 16 * 16, 32, 512), vocab + 2 * hidden};
  }
  // Large enough for full-speed products; rows start on 128 bytes.
  constexpr int64_t kLogits = int64_t{640} << 20;
  const int64_t row = (vocab + 63) / 64 * 64;
  const int64_t rows = std::clamp<int64_t>(kLogits / row / 128 * 128, 128, 4096);
  return {std::min(rows, (tokens + 127) / 128 * 128), row + 2 * hidden};
}

namespace {

// Where the MLP is computed some tokens at a time, memory is short: no more logits are held.
Shape held_logits(const Program& p, int64_t tokens, int64_t vocab, int64_t hidden) {
  const Shape most = loss_workspace(p.target(), tokens, vocab, hidden);
  constexpr int64_t kLeast = 128;
  const int64_t tile = (p.memory().mlp_tile + kLeast - 1) / kLeast * kLeast;
  return tile > 0 ? Shape{std::min(most[0], tile), most[1]} : most;
}

}  // namespace

Value linear_cross_entropy(Program& p, Value hidden, Value weight, Value targets, Value rows,
                           Value loss_scale, TokenLoss loss, const HeadUpdate& update) {
  const int64_t width = p.shape(hidden)[1];
  const int64_t vocab = p.shape(weight)[0];
  SFT_ASSERT(p.shape(weight)[1] == width);
  const Value stats = p.make("loss.stats", {4});
  const int64_t tokens = p.shape(hidden)[0];
  const Shape held = held_logits(p, tokens, vocab, width);
  const Value workspace = p.activation("loss.workspace", held);
  const Value row_stats = p.make("loss.row_stats", {tokens, 4});
  const Value update_workspace =
      update.low ? p.activation("loss.update", {held[0], 2 * p.shape(update.up)[1]}) : Value{};
  p.emit("linear_cross_entropy",
         {hidden, usable_weight(p, weight), targets, rows, loss_scale, update.low, update.up},
         {stats, workspace, row_stats, p.grad_out(hidden), p.grad_out(weight), update_workspace,
          p.grad_out(update.low), p.grad_out(update.up)},
         [loss, scale = update.scale](const Run& r) {
           kernels(r).linear_cross_entropy(r.device(), r.in(0), r.in(1), r.in(2), r.in(3), r.in(4),
                                           loss, r.out(1), r.out(2), r.out(0), r.out(3), r.out(4),
                                           r.accumulate(4), r.in(5), r.in(6), scale, r.out(5),
                                           r.out(6), r.out(7), r.accumulate(7));
         });
  return stats;
}

}  // namespace sft
