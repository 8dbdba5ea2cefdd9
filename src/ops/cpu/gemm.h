// Matrix products for the CPU kernels, over oneDNN's single-threaded sgemm: the rank's own threads
// share a product, so two ranks in one process never share a thread pool. Its kernels are for
// x86-64; elsewhere it adds up a whole row in one float, and gemm_plain.cpp takes its place.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"

namespace sft::cpu {

// C (m, n) = alpha * op(A) (m, k) * op(B) (k, n) + beta * C, row-major, ld = elements per stored
// row.
struct Gemm {
  bool transpose_a = false, transpose_b = false;
  int64_t m = 0, n = 0, k = 0;
  float alpha = 1.0F;
  const float* a = nullptr;
  int64_t lda = 0;
  const float* b = nullptr;
  int64_t ldb = 0;
  float beta = 0.0F;
  float* c = nullptr;
  int64_t ldc = 0;
};

// On the calling thread alone.
void gemm_serial(const Gemm& g);
// The same without oneDNN, by the compiler's vectors; sums over more than 256 are added in
// stretches.
void gemm_plain(const Gemm& g);
// On all threads of the pool, split by rows or by columns of C.
void gemm(ThreadPool& threads, const Gemm& g);

}  // namespace sft::cpu
