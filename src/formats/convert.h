// Bulk conversion between float32 and the types weights are stored in. Used by the readers and
// writers of this folder. Stored bytes may lie at any alignment; little endian, as all formats are.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "core/thread_pool.h"

namespace sft {

// Runs `body` over [0, n), split over the pool's threads when there is one and the work is worth
// it.
void split_work(ThreadPool* pool, int64_t n, int64_t grain,
                const std::function<void(int64_t begin, int64_t end)>& body);

// f32, f16 or bf16 -> f32, `n` elements. Exact.
void convert_to_f32(DType stored, const std::byte* source, int64_t n, float* destination,
                    ThreadPool* pool = nullptr);
// f32 -> f32, f16 or bf16, rounding to nearest, ties to even.
void convert_from_f32(DType stored, const float* source, int64_t n, std::byte* destination,
                      ThreadPool* pool = nullptr);
// True for the types the two functions above know.
bool is_weight_dtype(DType type);

}  // namespace sft
