// Keys and values of new tokens, put into the cache of a program that generates.
#pragma once

#include "device/kernel.h"
#include "graph/program.h"

namespace sft {

// qkv, cache and past as in cached_attention (ops/attention.h), which does the same on its way: for
// tokens that attend to each other alone.
void fill_cache(Program& p, Value qkv, Value cache, Value past);

SFT_KERNEL(void, cache_rows, const Tensor& qkv, const Tensor& past, Tensor& cache);

}  // namespace sft
