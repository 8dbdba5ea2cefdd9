#include "ops/cpu/gemm.h"

#if defined(__x86_64__)
#include <dnnl.h>
#include <fmt/format.h>
#include <omp.h>
#include <sys/mman.h>

#include <array>
#include <new>

#include "core/error.h"
#endif

namespace sft::cpu {

#if defined(__x86_64__)
namespace {

// oneDNN writes the code of its products at the first one, and does not look whether it was given
// the memory for that.
bool make_code() {
  constexpr size_t kNeeded = size_t{32} << 20;
  void* const probe =
      ::mmap(nullptr, kNeeded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (probe == MAP_FAILED) {
    throw std::bad_alloc();
  }
  ::munmap(probe, kNeeded);
  constexpr int64_t n = 32;
  std::array<float, n * n> a{}, b{}, c{};
  return dnnl_sgemm('N', 'N', n, n, n, 1, a.data(), n, b.data(), n, 0, c.data(), n) == dnnl_success;
}

}  // namespace

void gemm_serial(const Gemm& g) {
  // oneDNN would start a team of OpenMP threads of its own for every calling thread.
  thread_local const bool one_thread = (omp_set_num_threads(1), true);
  static const bool has_code = make_code();
  if (!one_thread || !has_code) {
    throw std::bad_alloc();
  }
  if (g.m == 0 || g.n == 0) {
    return;
  }
  const dnnl_status_t status =
      dnnl_sgemm(g.transpose_a ? 'T' : 'N', g.transpose_b ? 'T' : 'N', g.m, g.n, g.k, g.alpha, g.a,
                 g.lda, g.b, g.ldb, g.beta, g.c, g.ldc);
  if (status != dnnl_success) {
    throw Error("G002", fmt::format("oneDNN could not multiply ({}, {}) by ({}, {}): status {}",
                                    g.m, g.k, g.k, g.n, static_cast<int>(status)));
  }
}
#else
void gemm_serial(const Gemm& g) { gemm_plain(g); }
#endif

void gemm(ThreadPool& threads, const Gemm& g) {
  constexpr int64_t kSmall = 64LL * 64 * 64;  // less work than waking a thread is worth
  if (threads.size() == 1 || g.m * g.n * g.k < kSmall) {
    gemm_serial(g);
    return;
  }
  // Whole tiles of 16 columns (or 6 rows) keep the inner kernels full.
  const bool by_columns = g.n >= g.m;
  const int64_t tile = by_columns ? 16 : 6;
  const int64_t tiles = ((by_columns ? g.n : g.m) + tile - 1) / tile;
  threads.parallel_for(tiles, [&](int64_t begin, int64_t end) {
    Gemm part = g;
    const int64_t from = begin * tile;
    if (by_columns) {
      part.n = std::min(end * tile, g.n) - from;
      part.b = g.b + (g.transpose_b ? from * g.ldb : from);
      part.c = g.c + from;
    } else {
      part.m = std::min(end * tile, g.m) - from;
      part.a = g.a + (g.transpose_a ? from : from * g.lda);
      part.c = g.c + from * g.ldc;
    }
    gemm_serial(part);
  });
}

}  // namespace sft::cpu
