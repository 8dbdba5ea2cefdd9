#include "ops/cache_rows.h"

#include <algorithm>

#include "ops/kernels.h"

namespace sft {

void fill_cache(Program& p, Value qkv, Value cache, Value past) {
  p.emit("fill_cache", {qkv, cache, past}, {},
         [](const Run& r) { kernels(r).cache_rows(r.device(), r.in(0), r.in(2), r.kept(1)); });
}

namespace cpu {

void cache_rows(Device& /*device*/, const Tensor& qkv, const Tensor& past, Tensor& cache) {
  const int64_t row = qkv.shape[1];
  const int64_t width = cache.shape[1];
  const int64_t fresh = qkv.shape[0] / past.shape[0];  // of each text
  for (int64_t t = 0; t < qkv.shape[0]; ++t) {
    const int32_t* const place = past.i32() + 2 * (t / fresh);
    std::copy_n(qkv.f32() + t * row + row - width, width,
                cache.f32() + (int64_t{place[0]} + place[1] + t % fresh) * width);
  }
}

}  // namespace cpu

}  // namespace sft
