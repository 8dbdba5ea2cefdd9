#include "ops/step_attention.h"

#include <algorithm>
#include <bit>

#include "core/error.h"
#include "ops/kernels.h"

namespace sft {

namespace {

// Keys of a text are shared out over so many blocks of a GPU, each with at least kLeastKeys.
int64_t shares_of(const Program& p, int64_t texts, int64_t rows) {
  constexpr int64_t kMostShares = 64, kLeastKeys = 32;
  return p.target().device == DeviceKind::cpu
             ? 1
             : std::clamp<int64_t>(rows / texts / kLeastKeys, 1, kMostShares);
}

}  // namespace

bool takes_step_attention(const Program& p, const Heads& heads, int64_t rotated, bool interleaved) {
  const auto d = static_cast<uint64_t>(heads.head_dim);
  const bool lanes = std::has_single_bit(d) && d >= 8 && d <= 256;
  return !interleaved && (p.target().device == DeviceKind::cpu || (lanes && rotated / 2 % 8 == 0));
}

Value step_attention(Program& p, Value qkv, Value table, int64_t rotated, Value cache, Value past,
                     const Attention& options) {
  const Heads& heads = options.heads;
  const int64_t texts = p.shape(qkv)[0];
  SFT_ASSERT(p.shape(past)[0] == texts);
  const Value y = p.activation("attention", {texts, int64_t{heads.heads} * heads.head_dim});
  const int64_t shares = shares_of(p, texts, p.shape(cache)[0]);
  const Value workspace =
      p.make("attention.shares", {texts, heads.heads, shares, heads.head_dim + 2});
  p.emit("step_attention", {qkv, table, cache, past}, {y, workspace},
         [options, rotated](const Run& r) {
           kernels(r).step_attention_forward(r.device(), r.in(0), r.in(1), rotated, r.kept(2),
                                             r.in(3), options, r.out(0), r.out(1));
         });
  return y;
}

}  // namespace sft
