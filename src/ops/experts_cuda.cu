#include "ops/experts.h"

// Products run on compute capability 9.0 in bfloat16 as in ops/cuda/grouped_gemm.cuh; elsewhere,
// and for what that kernel does not take, on plain tiles in shared memory.
#include "device/cuda/scratch.h"
#include "ops/cuda/grouped_gemm.cuh"
#include "ops/cuda/rows.cuh"

namespace sft::gpu {

namespace {

constexpr uint32_t kAll = 0xFFFFFFFFU;

// --- sorting -------------------------------------------------------------------------------------

// counts (chunks, groups): how many of a chunk's pairs belong to each group.
__global__ void count_kernel(const int32_t* experts, int64_t pairs, int64_t chunk, int groups,
                             int32_t* counts) {
  int32_t* const own = counts + int64_t{blockIdx.x} * groups;
  const int lane = static_cast<int>(threadIdx.x);
  for (int g = lane; g < groups; g += 32) {
    own[g] = 0;
  }
  __syncwarp();
  const int64_t first = int64_t{blockIdx.x} * chunk;
  const int64_t end = min(first + chunk, pairs);
  for (int64_t i = first; i < end; i += 32) {
    const bool has = i + lane < end;
    const int g = has ? experts[i + lane] : -1;
    const uint32_t same = __match_any_sync(kAll, g);
    if (has && lane == __ffs(static_cast<int>(same)) - 1) {
      own[g] += __popc(same);
    }
    __syncwarp();
  }
}

// A warp has a group: its counts become how many of its pairs are in the chunks before, and
// totals[group] all of them.
__global__ void scan_chunks_kernel(int32_t* counts, int64_t chunks, int groups, int32_t* totals) {
  const int lane = static_cast<int>(threadIdx.x);
  const int g = static_cast<int>(blockIdx.x * blockDim.y + threadIdx.y);
  if (g >= groups) {
    return;
  }
  int32_t total = 0;
  for (int64_t c = lane; c - lane < chunks; c += 32) {
    const int32_t own = c < chunks ? counts[c * groups + g] : 0;
    int32_t sum = own;
    for (int step = 1; step < 32; step *= 2) {
      const int32_t other = __shfl_up_sync(kAll, sum, step);
      sum += lane >= step ? other : 0;
    }
    if (c < chunks) {
      counts[c * groups + g] = total + sum - own;
    }
    total += __shfl_sync(kAll, sum, 31);
  }
  if (lane == 0) {
    totals[g] = total;
  }
}

// starts (groups + 1): the sums of the totals before. One block.
__global__ void scan_groups_kernel(const int32_t* totals, int groups, int32_t* starts) {
  __shared__ int32_t sums[1024];
  const int thread = static_cast<int>(threadIdx.x);
  int32_t before = 0;
  for (int base = 0; base < groups; base += 1024) {
    const int g = base + thread;
    const int32_t count = g < groups ? totals[g] : 0;
    sums[thread] = count;
    __syncthreads();
    for (int step = 1; step < 1024; step *= 2) {
      const int32_t other = thread >= step ? sums[thread - step] : 0;
      __syncthreads();
      sums[thread] += other;
      __syncthreads();
    }
    if (g < groups) {
      starts[g] = before + sums[thread] - count;
    }
    before += sums[1023];
    __syncthreads();
  }
  if (thread == 0) {
    starts[groups] = before;
  }
}

// next (chunks, groups): as scan_chunks_kernel leaves it.
__global__ void place_kernel(const int32_t* experts, int64_t pairs, int64_t chunk, int groups,
                             int chosen, const int32_t* starts, int32_t* next, int32_t* rows,
                             int32_t* slots) {
  int32_t* const own = next + int64_t{blockIdx.x} * groups;
  const int lane = static_cast<int>(threadIdx.x);
  const int64_t first = int64_t{blockIdx.x} * chunk;
  const int64_t end = min(first + chunk, pairs);
  for (int64_t i = first; i < end; i += 32) {
    const bool has = i + lane < end;
    const int g = has ? experts[i + lane] : -1;
    const uint32_t same = __match_any_sync(kAll, g);
    const int before = __popc(same & ((1U << lane) - 1));
    const int32_t row = has ? starts[g] + own[g] + before : 0;
    __syncwarp();
    if (has) {
      rows[row] = static_cast<int32_t>((i + lane) / chosen);
      slots[i + lane] = row;
      if (before == 0) {
        own[g] += __popc(same);
      }
    }
    __syncwarp();
  }
}

// --- rows of tokens ------------------------------------------------------------------------------

// A block has a token.
template <class T>
__global__ void sum_slots_kernel(const T* x, const int32_t* slots, const float* weights, int chosen,
                                 int64_t n, T* y, bool accumulate) {
  const bool aligned = n % kVec == 0;
  const int32_t* const own = slots + int64_t{blockIdx.x} * chosen;
  T* const to = y + int64_t{blockIdx.x} * n;
  for (int64_t i = int64_t{threadIdx.x} * kVec; i < n; i += int64_t{blockDim.x} * kVec) {
    Vec sum{};
    for (int k = 0; k < chosen; ++k) {
      const float weight = weights == nullptr ? 1.0F : weights[int64_t{blockIdx.x} * chosen + k];
      const Vec value = load_row(x + int64_t{own[k]} * n, i, n, aligned);
#pragma unroll
      for (int j = 0; j < kVec; ++j) {
        sum.v[j] += weight * value.v[j];
      }
    }
    if (accumulate) {
      const Vec before = load_row(to, i, n, aligned);
#pragma unroll
      for (int j = 0; j < kVec; ++j) {
        sum.v[j] += before.v[j];
      }
    }
    store_row(to, i, n, aligned, sum);
  }
}

// A block has a token, a warp one of its rows after the other.
constexpr int kWarps = 8;
template <class T>
__global__ void from_experts_kernel(const T* grad, const T* y, const int32_t* slots,
                                    const float* weights, int chosen, int64_t n, T* grad_y,
                                    float* grad_weights, bool accumulate) {
  const bool aligned = n % kVec == 0;
  const T* const g = grad + int64_t{blockIdx.x} * n;
  for (int k = static_cast<int>(threadIdx.y); k < chosen; k += kWarps) {
    const int64_t pair = int64_t{blockIdx.x} * chosen + k;
    const int64_t row = int64_t{slots[pair]} * n;
    const float weight = weights[pair];
    LongSum sum;
    for (int64_t i = int64_t{threadIdx.x} * kVec; i < n; i += 32 * kVec) {
      const Vec value = load_row(g, i, n, aligned);
      if (grad_weights != nullptr) {
        const Vec other = load_row(y + row, i, n, aligned);
        float part = 0;
#pragma unroll
        for (int j = 0; j < kVec; ++j) {
          part += value.v[j] * other.v[j];
        }
        sum.add(part);
      }
      if (grad_y != nullptr) {
        Vec out;
#pragma unroll
        for (int j = 0; j < kVec; ++j) {
          out.v[j] = weight * value.v[j];
        }
        store_row(grad_y + row, i, n, aligned, out);
      }
    }
    const float total = warp_sum(sum.total());
    if (grad_weights != nullptr && threadIdx.x == 0) {
      grad_weights[pair] = accumulate ? grad_weights[pair] + total : total;
    }
  }
}

// --- products on plain tiles ---------------------------------------------------------------------

// The group that has a row, by a search.
__device__ int group_of(const int32_t* starts, int groups, int64_t row) {
  int low = 0, high = groups - 1;
  while (low < high) {  // the last one that starts at or before it
    const int middle = (low + high + 1) / 2;
    if (starts[middle] <= row) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

// A warp has a row and 32 columns.
template <class T>
__global__ void product_kernel(const T* x, const T* weight, int64_t in, const T* low,
                               const T* low_weight, int64_t depth, const int32_t* starts,
                               int groups, bool turned, float alpha, int64_t rows, int64_t out,
                               T* y, bool accumulate) {
  const int64_t row = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  const int64_t column = int64_t{blockIdx.y} * 32 + threadIdx.x;
  if (row >= rows || column >= out) {
    return;
  }
  const int64_t g = group_of(starts, groups, row);
  const auto dot = [&](const T* a, const T* b, int64_t n) {
    LongSum sum;
    const T* const values = b + g * n * out + (turned ? column : column * n);
    for (int64_t k = 0; k < n; ++k) {
      sum.add(sft::widen(a[row * n + k]) * sft::widen(values[turned ? k * out : k]));
    }
    return sum.total();
  };
  float total = alpha * dot(x, weight, in);
  if (low != nullptr) {
    total += dot(low, low_weight, depth);
  }
  T* const to = y + row * out + column;
  *to = sft::narrow<T>(accumulate ? sft::widen(*to) + total : total);
}

template <class T>
__global__ void outer_kernel(const T* a, const T* b, int64_t m, int64_t n, const int32_t* starts,
                             float* grad, bool accumulate) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  const int64_t j = int64_t{blockIdx.y} * 32 + threadIdx.x;
  if (i >= m || j >= n) {
    return;
  }
  LongSum sum;
  for (int64_t row = starts[blockIdx.z]; row < starts[blockIdx.z + 1]; ++row) {
    sum.add(sft::widen(a[row * m + i]) * sft::widen(b[row * n + j]));
  }
  float* const to = grad + (int64_t{blockIdx.z} * m + i) * n + j;
  *to = accumulate ? *to + sum.total() : sum.total();
}

dim3 plain_grid(int64_t rows, int64_t columns, int64_t groups = 1) {
  constexpr int kRows = 8;
  return {static_cast<unsigned>((rows + kRows - 1) / kRows),
          static_cast<unsigned>((columns + 31) / 32), static_cast<unsigned>(groups)};
}
const dim3 kPlainBlock{32, 8};

// --- adapters ------------------------------------------------------------------------------------

// y (columns, rows) (+)= the transpose of x (rows, columns), by blocks of 32 x 8 threads. An
// adapter's b (rows, rank * experts), read as (rows * rank, experts), is turned into what stands
// expert by expert (experts, rows * rank), and back.
template <class T>
__global__ void transpose_kernel(const T* x, int64_t rows, int64_t columns, T* y, bool accumulate) {
  __shared__ T tile[32][33];
  const int64_t across = (columns + 31) / 32;
  const int64_t row = int64_t{blockIdx.x} / across * 32;
  const int64_t column = int64_t{blockIdx.x} % across * 32;
  const auto along = static_cast<int>(threadIdx.x);
  for (int i = static_cast<int>(threadIdx.y); i < 32; i += 8) {
    if (row + i < rows && column + along < columns) {
      tile[i][along] = x[(row + i) * columns + column + along];
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.y); i < 32; i += 8) {
    if (column + i < columns && row + along < rows) {
      T* const to = y + (column + i) * rows + row + along;
      const float value = sft::widen(tile[along][i]);
      *to = sft::narrow<T>(accumulate ? sft::widen(*to) + value : value);
    }
  }
}
template <class T>
void transpose(CudaDevice& device, const T* x, int64_t rows, int64_t columns, T* y,
               bool accumulate) {
  const auto blocks = static_cast<unsigned>((rows + 31) / 32 * ((columns + 31) / 32));
  transpose_kernel<<<blocks, dim3(32, 8), 0, device.stream()>>>(x, rows, columns, y, accumulate);
}

// --- biases --------------------------------------------------------------------------------------

template <class T>
__global__ void bias_kernel(const T* bias, const int32_t* starts, int groups, int64_t n, T* y) {
  const bool aligned = n % kVec == 0;
  const int g = group_of(starts, groups, blockIdx.x);
  T* const to = y + int64_t{blockIdx.x} * n;
  for (int64_t i = int64_t{threadIdx.x} * kVec; i < n; i += int64_t{blockDim.x} * kVec) {
    Vec value = load_row(to, i, n, aligned);
    const Vec more = load_row(bias + g * n, i, n, aligned);
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      value.v[j] += more.v[j];
    }
    store_row(to, i, n, aligned, value);
  }
}

// A thread has a column of a group.
template <class T>
__global__ void bias_backward_kernel(const T* grad_y, const int32_t* starts, int64_t n, float* grad,
                                     bool accumulate) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= n) {
    return;
  }
  LongSum sum;
  for (int64_t row = starts[blockIdx.y]; row < starts[blockIdx.y + 1]; ++row) {
    sum.add(sft::widen(grad_y[row * n + i]));
  }
  float* const to = grad + int64_t{blockIdx.y} * n + i;
  *to = accumulate ? *to + sum.total() : sum.total();
}

// --- products of bfloat16 ------------------------------------------------------------------------

#ifdef SFT_HOPPER

bool on_sixteen_bytes(const Tensor& t) {
  return reinterpret_cast<uintptr_t>(t.data) % 16 == 0 && t.shape[1] % 8 == 0;
}

bool fits(CudaDevice& device, const Tensor& a, const Tensor& b, const Tensor& starts) {
  return device.hopper() && a.dtype == DType::bf16 && b.dtype == DType::bf16 &&
         starts.shape[0] - 1 <= 2048 && on_sixteen_bytes(a) && on_sixteen_bytes(b);
}

int steps_of(int64_t n, int64_t size) { return static_cast<int>((n + size - 1) / size); }

template <bool kTurned, int kColumns>
void product(CudaDevice& device, const Tensor& x, const Tensor& weight, const Tensor& low,
             const Tensor& low_weight, const Tensor& starts, float alpha, Tensor& y,
             bool accumulate) {
  using Plan = GroupedPlan<false, kTurned, kColumns>;
  const auto map = [](const Tensor& t, int box_rows) {
    return tensor_map(t.data, t.shape[0], t.shape[1], t.shape[1], box_rows);
  };
  GroupedMaps maps{map(x, Plan::kTileM), map(weight, 64), {}, {}};
  GroupedSizes s{};
  s.groups = static_cast<int>(starts.shape[0] - 1);
  s.n = static_cast<int>(y.shape[1]);
  s.k = static_cast<int>(x.shape[1]);
  s.wide_steps = s.k_steps = steps_of(s.k, Plan::kTileK);
  if (low.data != nullptr) {
    maps.low_a = map(low, Plan::kTileM);
    maps.low_b = map(low_weight, 64);
    s.low = static_cast<int>(low.shape[1]);
    s.k_steps += steps_of(s.low, Plan::kTileK);
  }
  const int last = (low.data != nullptr ? s.low : s.k) % Plan::kTileK;
  s.end_pieces = steps_of(last == 0 ? Plan::kTileK : last, 16);
  s.tiles_n = steps_of(s.n, Plan::kTileN);
  s.alpha = alpha;
  s.accumulate = accumulate;
  const int64_t most = (steps_of(y.shape[0], Plan::kTileM) + s.groups) * int64_t{s.tiles_n};
  launch_grouped_gemm<Plan>(device.stream(), device.multiprocessors(), maps, s, starts.i32(), most,
                            y.as<__nv_bfloat16>());
}

template <int kColumns>
void outer(CudaDevice& device, const Tensor& a, const Tensor& b, const Tensor& starts, Tensor& grad,
           bool accumulate) {
  using Plan = GroupedPlan<true, true, kColumns>;
  const auto map = [](const Tensor& t) {
    return tensor_map(t.data, t.shape[0], t.shape[1], t.shape[1], 64);
  };
  GroupedSizes s{};
  s.groups = static_cast<int>(starts.shape[0] - 1);
  s.m = static_cast<int>(a.shape[1]);
  s.n = static_cast<int>(b.shape[1]);
  s.tiles_m = steps_of(s.m, Plan::kTileM);
  s.tiles_n = steps_of(s.n, Plan::kTileN);
  s.accumulate = accumulate;
  launch_grouped_gemm<Plan>(device.stream(), device.multiprocessors(), {map(a), map(b), {}, {}}, s,
                            starts.i32(), int64_t{s.groups} * s.tiles_m * s.tiles_n, grad.f32());
}

#endif

unsigned threads_for(int64_t n) {
  return static_cast<unsigned>(std::clamp<int64_t>((n / kVec + 31) / 32 * 32, 32, 256));
}

}  // namespace

void sort_by_expert(Device& device, const Tensor& experts, Tensor& starts, Tensor& rows,
                    Tensor& slots) {
  CudaDevice& gpu = cuda(device);
  const int64_t pairs = experts.shape.elements();
  const auto groups = static_cast<int>(starts.shape[0] - 1);
  const int64_t room = static_cast<int64_t>(Scratch::kBytes / sizeof(int32_t)) / groups - 1;
  const int64_t chunks = std::clamp<int64_t>(pairs / 256, 1, std::min<int64_t>(room, 512));
  const int64_t chunk = (pairs + chunks - 1) / chunks;
  auto* const counts = gpu.state<Scratch>().take<int32_t>((chunks + 1) * groups);
  int32_t* const totals = counts + chunks * groups;
  const auto blocks = static_cast<unsigned>(chunks);
  count_kernel<<<blocks, 32, 0, gpu.stream()>>>(experts.i32(), pairs, chunk, groups, counts);
  constexpr int kGroups = 8;  // of a block
  scan_chunks_kernel<<<static_cast<unsigned>((groups + kGroups - 1) / kGroups), dim3(32, kGroups),
                       0, gpu.stream()>>>(counts, chunks, groups, totals);
  scan_groups_kernel<<<1, 1024, 0, gpu.stream()>>>(totals, groups, starts.i32());
  place_kernel<<<blocks, 32, 0, gpu.stream()>>>(experts.i32(), pairs, chunk, groups,
                                                static_cast<int>(experts.shape[1]), starts.i32(),
                                                counts, rows.i32(), slots.i32());
  check_cuda(cudaGetLastError(), "experts.sort");
}

void sum_slots(Device& device, const Tensor& x, const Tensor& slots, const Tensor& weights,
               Tensor& y, bool accumulate) {
  with_type(y.dtype, [&](auto type) {
    using T = decltype(type);
    const int64_t n = y.shape[1];
    sum_slots_kernel<<<static_cast<unsigned>(y.shape[0]), threads_for(n), 0,
                       cuda(device).stream()>>>(x.as<T>(), slots.i32(), weights.f32(),
                                                static_cast<int>(slots.shape[1]), n, y.as<T>(),
                                                accumulate);
  });
  check_cuda(cudaGetLastError(), "experts.sum");
}

void from_experts_backward(Device& device, const Tensor& grad, const Tensor& y, const Tensor& slots,
                           const Tensor& weights, Tensor& grad_y, Tensor& grad_weights,
                           bool accumulate) {
  with_type(grad.dtype, [&](auto type) {
    using T = decltype(type);
    from_experts_kernel<<<static_cast<unsigned>(grad.shape[0]), dim3(32, kWarps), 0,
                          cuda(device).stream()>>>(
        grad.as<T>(), y.as<T>(), slots.i32(), weights.f32(), static_cast<int>(slots.shape[1]),
        grad.shape[1], grad_y.as<T>(), grad_weights.f32(), accumulate);
  });
  check_cuda(cudaGetLastError(), "experts.out.backward");
}

void grouped_product(Device& device, const Tensor& x, const Tensor& weight, const Tensor& low,
                     const Tensor& low_weight, const Tensor& starts, bool turned, float alpha,
                     Tensor& y, bool accumulate) {
  CudaDevice& gpu = cuda(device);
#ifdef SFT_HOPPER
  if (fits(gpu, x, weight, starts) && y.shape[1] % 8 == 0 &&
      (low.data == nullptr || fits(gpu, low, low_weight, starts))) {
    const bool few = y.shape[1] <= 64;
    const auto call = turned ? (few ? product<true, 64> : product<true, 256>)
                             : (few ? product<false, 64> : product<false, 256>);
    return call(gpu, x, weight, low, low_weight, starts, alpha, y, accumulate);
  }
#endif
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    const int64_t rows = y.shape[0];
    product_kernel<<<plain_grid(rows, y.shape[1]), kPlainBlock, 0, gpu.stream()>>>(
        x.as<T>(), weight.as<T>(), x.shape[1], low.as<T>(), low_weight.as<T>(),
        low.data == nullptr ? 0 : low.shape[1], starts.i32(), static_cast<int>(starts.shape[0] - 1),
        turned, alpha, rows, y.shape[1], y.as<T>(), accumulate);
  });
  check_cuda(cudaGetLastError(), "experts.product");
}

void grouped_outer(Device& device, const Tensor& a, const Tensor& b, const Tensor& starts,
                   Tensor& grad, bool accumulate) {
  CudaDevice& gpu = cuda(device);
#ifdef SFT_HOPPER
  if (fits(gpu, a, b, starts)) {
    return (b.shape[1] <= 64 ? outer<64> : outer<256>)(gpu, a, b, starts, grad, accumulate);
  }
#endif
  with_type(a.dtype, [&](auto type) {
    using T = decltype(type);
    outer_kernel<<<plain_grid(a.shape[1], b.shape[1], starts.shape[0] - 1), kPlainBlock, 0,
                   gpu.stream()>>>(a.as<T>(), b.as<T>(), a.shape[1], b.shape[1], starts.i32(),
                                   grad.f32(), accumulate);
  });
  check_cuda(cudaGetLastError(), "experts.backward.weight");
}

void split_by_expert(Device& device, const Tensor& b, Tensor& y) {
  const int64_t experts = y.shape[0] / b.shape[0];
  with_type(b.dtype, [&](auto type) {
    using T = decltype(type);
    transpose(cuda(device), b.as<T>(), b.shape.elements() / experts, experts, y.as<T>(), false);
  });
  check_cuda(cudaGetLastError(), "experts.lora_b");
}

void split_by_expert_backward(Device& device, const Tensor& grad_y, Tensor& grad_b,
                              bool accumulate) {
  const int64_t experts = grad_y.shape[0] / grad_b.shape[0];
  transpose(cuda(device), grad_y.f32(), experts, grad_y.shape.elements() / experts, grad_b.f32(),
            accumulate);
  check_cuda(cudaGetLastError(), "experts.lora_b.backward");
}

void grouped_bias(Device& device, const Tensor& bias, const Tensor& starts, Tensor& y) {
  with_type(y.dtype, [&](auto type) {
    using T = decltype(type);
    const int64_t n = y.shape[1];
    bias_kernel<<<static_cast<unsigned>(y.shape[0]), threads_for(n), 0, cuda(device).stream()>>>(
        bias.as<T>(), starts.i32(), static_cast<int>(starts.shape[0] - 1), n, y.as<T>());
  });
  check_cuda(cudaGetLastError(), "experts.bias");
}

void grouped_bias_backward(Device& device, const Tensor& grad_y, const Tensor& starts, Tensor& grad,
                           bool accumulate) {
  with_type(grad_y.dtype, [&](auto type) {
    using T = decltype(type);
    const int64_t n = grad_y.shape[1];
    const dim3 grid(static_cast<unsigned>((n + 127) / 128),
                    static_cast<unsigned>(starts.shape[0] - 1));
    bias_backward_kernel<<<grid, 128, 0, cuda(device).stream()>>>(grad_y.as<T>(), starts.i32(), n,
                                                                  grad.f32(), accumulate);
  });
  check_cuda(cudaGetLastError(), "experts.backward.bias");
}

}  // namespace sft::gpu
