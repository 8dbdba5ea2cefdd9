// How PiSSA and OLoRA begin: a rank's worth of a weight becomes B A, and the base keeps the rest.
// Meng et al., "PiSSA" (2024); Büyükakyüz, "OLoRA" (2024). Used where an adapter's values begin.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/thread_pool.h"

namespace sft {

struct LowRank {
  std::vector<float> a;  // (rank, in)
  std::vector<float> b;  // (out, rank)
};

// A weight (out, in), row after row.
struct WeightView {
  std::span<const float> values;
  int64_t out = 0, in = 0;
};

// The largest singular values S of W = U S V^T: B = U sqrt(S / scale), A = sqrt(S / scale) V^T. By
// Lanczos bidiagonalisation (Golub and Kahan, 1965) with every vector kept orthogonal to all
// others. Rank at most min(out, in). The signs of pairs of vectors are free.
LowRank pissa(const WeightView& w, int64_t rank, float scale, ThreadPool& pool);

// The same from `iterations` of subspace iteration beginning with `start` (min(out, in), rank), as
// torch.svd_lowrank has it (Halko et al., 2009).
LowRank pissa_iterated(const WeightView& w, int64_t rank, float scale, int iterations,
                       std::span<const float> start, ThreadPool& pool);

// W = Q R: B has the first columns of Q, A the first rows of R, with the signs that LAPACK's
// Householder reflections give them.
LowRank olora(const WeightView& w, int64_t rank, ThreadPool& pool);

}  // namespace sft
