// The instructions of compute capability 9.0 that CUDA C++ has no words for: barriers that count
// bytes, copies of tiles by the copy engine, matrix products of a warpgroup (128 threads).
// Names and meanings are those of NVIDIA's "PTX ISA", chapters mbarrier, cp.async.bulk, wgmma.
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>

#include <cstdint>

#include "ops/cuda/activate.cuh"

namespace sft::hopper {

__device__ inline uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// --- barriers ----------------------------------------------------------------------------------
using Barrier = uint64_t;

__device__ inline void start(Barrier* b, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(arrivals));
}
__device__ inline void arrive(Barrier* b) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b)) : "memory");
}
// Arrives, and says that copies will bring `bytes` before the phase is complete.
__device__ inline void arrive_expecting(Barrier* b, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)),
               "r"(bytes)
               : "memory");
}
// Arrives at the barrier in the same place of block `rank` of the cluster.
__device__ inline void arrive_at(Barrier* b, uint32_t rank) {
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n"
      "}" ::"r"(shared_address(b)),
      "r"(rank)
      : "memory");
}
// Waits for the end of the phase of this parity.
__device__ inline void wait(Barrier* b, uint32_t parity) {
  uint32_t done = 0;
  while (done == 0) {
    asm volatile(
        "{\n"
        ".reg .pred p;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n"
        "}"
        : "=r"(done)
        : "r"(shared_address(b)), "r"(parity)
        : "memory");
  }
}
// Started barriers, as the cluster and the copy engine are to see them.
__device__ inline void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// --- clusters ----------------------------------------------------------------------------------
__device__ inline uint32_t rank_in_cluster() {
  uint32_t rank = 0;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
__device__ inline void synchronize_cluster() {
  asm volatile(
      "barrier.cluster.arrive.release.aligned;\n"
      "barrier.cluster.wait.acquire.aligned;" ::
          : "memory");
}

// --- tiles -------------------------------------------------------------------------------------
// What is read or written once, and what many blocks read, as the second-level cache is told.
constexpr uint64_t kOnce = 0x12F0000000000000;
constexpr uint64_t kOften = 0x14F0000000000000;

// The tile at (x, y) of a matrix to shared memory; its bytes count for `b`. With `blocks`, a bit
// for each block of the cluster, to the same place in each of those, for their own b.
__device__ inline void load(const CUtensorMap& map, Barrier* b, void* to, int x, int y,
                            uint64_t hint) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%3, %4}], [%2], %5;" ::"r"(shared_address(to)),
      "l"(&map), "r"(shared_address(b)), "r"(x), "r"(y), "l"(hint)
      : "memory");
}
__device__ inline void load(const CUtensorMap& map, Barrier* b, void* to, int x, int y,
                            uint64_t hint, uint16_t blocks) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster.L2::cache_hint [%0], [%1, {%3, %4}], [%2], %5, %6;" ::"r"(
          shared_address(to)),
      "l"(&map), "r"(shared_address(b)), "r"(x), "r"(y), "h"(blocks), "l"(hint)
      : "memory");
}
// Of an array of three dimensions.
__device__ inline void load(const CUtensorMap& map, Barrier* b, void* to, int x, int y, int z,
                            uint64_t hint) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%3, %4, %5}], [%2], %6;" ::"r"(shared_address(to)),
      "l"(&map), "r"(shared_address(b)), "r"(x), "r"(y), "r"(z), "l"(hint)
      : "memory");
}
// `bytes` from one address to another, all multiples of 16.
__device__ inline void load(const void* from, Barrier* b, void* to, uint32_t bytes) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %3, [%2];" ::
          "r"(shared_address(to)),
      "l"(from), "r"(shared_address(b)), "r"(bytes)
      : "memory");
}
__device__ inline void store(const CUtensorMap& map, const void* from, int x, int y,
                             uint64_t hint) {
  asm volatile(
      "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group.L2::cache_hint [%0, {%2, %3}], [%1], "
      "%4;" ::"l"(&map),
      "r"(shared_address(from)), "r"(x), "r"(y), "l"(hint)
      : "memory");
}
// `bytes` in a row (a multiple of 16), with no map.
__device__ inline void load_bytes(Barrier* b, void* to, const void* from, uint32_t bytes) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(b))
      : "memory");
}
__device__ inline void store_bytes(void* to, const void* from, uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to),
               "r"(shared_address(from)), "r"(bytes)
               : "memory");
}
__device__ inline void commit_stores() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// Until what this thread has committed, but for the last kLeft, no longer needs shared memory.
template <int kLeft>
__device__ inline void wait_stores_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kLeft) : "memory");
}
// Until it is written.
__device__ inline void wait_stores() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }
// Before the copy engine reads what this thread wrote to shared memory.
__device__ inline void show_to_copies() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Threads of one warpgroup wait for one another; `id` from 1.
__device__ inline void synchronize_warpgroup(int id) {
  asm volatile("bar.sync %0, 128;" ::"r"(id) : "memory");
}

// --- registers ---------------------------------------------------------------------------------
template <int kCount>
__device__ inline void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}
template <int kCount>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}

// Four 8 x 8 blocks of 16-bit values; each thread names one row, 16 bytes.
__device__ inline void load_blocks(const void* row, uint32_t (&r)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ inline void store_blocks(void* row, const uint32_t (&r)[4]) {
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(row)),
      "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
      : "memory");
}

using sft::power_of_two;
using sft::reciprocal;

// Two bfloat16 values in a word.
__device__ inline uint32_t pack(float x, float y) {
  const __nv_bfloat162 v = __floats2bfloat162_rn(x, y);
  return reinterpret_cast<const uint32_t&>(v);
}
__device__ inline float2 unpack(uint32_t x) {
  return __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(x));
}

// --- products ----------------------------------------------------------------------------------
// Describes an operand in shared memory, in rows of 128 swizzled bytes. Groups of 8 rows lie 1024
// bytes apart. `leading`: bytes between columns of 64 values, used where the product reads
// transposed.
__device__ inline uint64_t operand(const void* p, uint32_t leading) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  return kSwizzle128 | uint64_t{1024 >> 4} << 32 | uint64_t{leading >> 4} << 16 |
         ((shared_address(p) & 0x3FFFF) >> 4);
}
__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kLeft>
__device__ inline void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
}
// Names registers that a product under way may still read, so that none of them is used for
// something else before; to be called after the wait for it.
template <int kCount>
__device__ inline void keep_until_here(uint32_t (&r)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    asm volatile("" : "+r"(r[i])::"memory");
  }
}

#define SFT_R8(i)                                                                             \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define SFT_R32(i) SFT_R8(i), SFT_R8(i + 8), SFT_R8(i + 16), SFT_R8(i + 24)
#define SFT_N32                                                                            \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23," \
  "%24,%25,%26,%27,%28,%29,%30,%31"
#define SFT_N64                                               \
  SFT_N32                                                     \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45," \
  "%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
// `n`: columns of d; a and b: where the operands stand; `flag`: the place of `add`.
#define SFT_PRODUCT(n, d, a, b, flag, transposed)                              \
  "{\n"                                                                        \
  ".reg .pred p;\n"                                                            \
  "setp.ne.b32 p, " flag                                                       \
  ", 0;\n"                                                                     \
  "wgmma.mma_async.sync.aligned.m64n" n "k16.f32.bf16.bf16 {" d "}, " a ", " b \
  ", p, 1, 1, " transposed                                                     \
  ";\n"                                                                        \
  "}"

// d (64, n) = (add ? d : 0) + a (64, 16) b (n, 16)^T, or b (16, n) where b is transposed; bfloat16
// operands, n = 64 or 128. Thread t holds rows t/32*16 + t%32/4 (+ 8) and columns t%4*2 (+ 1) of
// each 8 columns of d, and of a where that is in registers: the order in which `load_blocks` gives
// 16 x 16 values, and two blocks of 8 columns of an earlier d. kAlsoA: a is (16, 64), and is read
// transposed.
template <bool kTransposed, bool kAlsoA = false>
__device__ inline void multiply(float (&d)[64], uint64_t a, uint64_t b, bool add) {
  asm volatile(SFT_PRODUCT("128", SFT_N64, "%64", "%65", "%66", "%68, %67")
               : SFT_R32(0), SFT_R32(32)
               : "l"(a), "l"(b), "r"(static_cast<int>(add)), "n"(kTransposed ? 1 : 0),
                 "n"(kAlsoA ? 1 : 0));
}
template <bool kTransposed, bool kAlsoA = false>
__device__ inline void multiply(float (&d)[32], uint64_t a, uint64_t b, bool add) {
  asm volatile(SFT_PRODUCT("64", SFT_N32, "%32", "%33", "%34", "%36, %35")
               : SFT_R32(0)
               : "l"(a), "l"(b), "r"(static_cast<int>(add)), "n"(kTransposed ? 1 : 0),
                 "n"(kAlsoA ? 1 : 0));
}
template <bool kTransposed>
__device__ inline void multiply(float (&d)[64], const uint32_t* a, uint64_t b, bool add) {
  asm volatile(SFT_PRODUCT("128", SFT_N64, "{%64, %65, %66, %67}", "%68", "%69", "%70")
               : SFT_R32(0), SFT_R32(32)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)),
                 "n"(kTransposed ? 1 : 0));
}
template <bool kTransposed>
__device__ inline void multiply(float (&d)[32], const uint32_t* a, uint64_t b, bool add) {
  asm volatile(SFT_PRODUCT("64", SFT_N32, "{%32, %33, %34, %35}", "%36", "%37", "%38")
               : SFT_R32(0)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)),
                 "n"(kTransposed ? 1 : 0));
}
#undef SFT_R8
#undef SFT_R32
#undef SFT_N32
#undef SFT_N64
#undef SFT_PRODUCT

}  // namespace sft::hopper
