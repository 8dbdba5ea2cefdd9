#include "comm/cuda/peers.h"

#include <cuda.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <numeric>
#include <random>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/fd.h"
#include "device/cuda/driver_function.h"

namespace sft {

namespace {

constexpr int kMostRanks = 16;

struct Sources {
  const float* at[kMostRanks];
};

__device__ float4 operator+(float4 a, float4 b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}

// to[i] (+)= ((x0[i] + x1[i]) + x2[i]) ..., as comm/queued.h; `to` may be one of the sources.
template <class V>
__global__ void sum_in_order(Sources from, int count, float* to, int64_t n, bool accumulate) {
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += stride) {
    V total = reinterpret_cast<const V*>(from.at[0])[i];
    for (int k = 1; k < count; ++k) {
      total = total + reinterpret_cast<const V*>(from.at[k])[i];
    }
    V* const out = reinterpret_cast<V*>(to) + i;
    *out = accumulate ? *out + total : total;
  }
}

// This machine and this process's view of it: a device pointer of another process means nothing.
std::string here() {
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  std::array<char, 64> space{};
  const ssize_t n = ::readlink("/proc/self/ns/pid", space.data(), space.size() - 1);
  return boot + std::string(space.data(), n > 0 ? static_cast<size_t>(n) : 0);
}

// What each rank tells the others about its slots.
struct Invitation {
  char here[128];
  char pages[64];  // the name of the counters' memory: rank 0's counts
  int64_t process;
  int device;
  void* slots;
  cudaIpcMemHandle_t handle;
  bool able;
};

}  // namespace

// One page of counters for each rank, in memory that all ranks of the machine share.
class Peers::SharedPages {
 public:
  static constexpr size_t kPage = 4096, kApart = 64;

  SharedPages(const std::string& name, int world, bool make)
      : bytes_(kPage * static_cast<size_t>(world)) {
    const Fd file(::shm_open(name.c_str(), O_RDWR | (make ? O_CREAT | O_EXCL : 0), 0600));
    if (!file) {
      return;
    }
    if (!make || ::ftruncate(file.get(), static_cast<off_t>(bytes_)) == 0) {
      void* const at = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
      memory_ = at == MAP_FAILED ? nullptr : at;
    }
    void* seen = nullptr;
    if (memory_ != nullptr &&
        cudaHostRegister(memory_, bytes_, cudaHostRegisterMapped) == cudaSuccess) {
      registered_ = true;
      if (cudaHostGetDevicePointer(&seen, memory_, 0) == cudaSuccess) {
        device_ = static_cast<std::byte*>(seen);
      }
    }
    cudaGetLastError();
  }
  ~SharedPages() {
    if (registered_) {
      cudaHostUnregister(memory_);
    }
    if (memory_ != nullptr) {
      ::munmap(memory_, bytes_);
    }
  }
  SharedPages(const SharedPages&) = delete;
  SharedPages& operator=(const SharedPages&) = delete;

  bool usable() const { return device_ != nullptr; }
  // How far rank `from` is, in what rank `at` waits for.
  CUdeviceptr counter(int at, Counter which, int from) const {
    const size_t number = static_cast<size_t>(which) * kMostRanks + static_cast<size_t>(from);
    return reinterpret_cast<CUdeviceptr>(device_ + static_cast<size_t>(at) * kPage +
                                         number * kApart);
  }
  // Beyond everything that is waited for: comparisons are cyclic.
  void release(int at) {
    std::memset(static_cast<std::byte*>(memory_) + static_cast<size_t>(at) * kPage, 0x7f, kPage);
  }

 private:
  size_t bytes_;
  void* memory_ = nullptr;
  bool registered_ = false;
  std::byte* device_ = nullptr;
};
static_assert(2 * kMostRanks * 64 <= 4096, "a rank's counters fill a page");

std::unique_ptr<Peers> Peers::connect(CudaDevice& device, int rank, int world,
                                      const Gather& gather) {
  if (world < 2 || world > kMostRanks) {
    return nullptr;
  }
  auto peers = std::unique_ptr<Peers>(new Peers(device, rank, world));
  const bool opened = peers->open(gather);
  std::vector<char> all(static_cast<size_t>(world));
  const auto agreed = [&](bool able) {
    const char own = able ? 1 : 0;
    gather(&own, all.data(), 1);
    return std::ranges::all_of(all, [](char c) { return c == 1; });
  };
  return agreed(opened) && agreed(peers->try_out()) ? std::move(peers) : nullptr;
}

Peers::Peers(CudaDevice& device, int rank, int world)
    : device_(device),
      rank_(rank),
      world_(world),
      piece_(kBytes / kSlots / static_cast<size_t>(world) / 4096 * 4096),
      slots_(static_cast<size_t>(world)),
      opened_(static_cast<size_t>(world)) {
  int least = 0, most = 0;
  check_cuda(cudaDeviceGetStreamPriorityRange(&least, &most), "asking for priorities");
  check_cuda(cudaStreamCreateWithPriority(&pushing_, cudaStreamNonBlocking, most),
             "making a stream");
  check_cuda(cudaEventCreateWithFlags(&begun_, cudaEventDisableTiming), "making an event");
  check_cuda(cudaEventCreateWithFlags(&pushed_, cudaEventDisableTiming), "making an event");
}

Peers::~Peers() {
  if (cudaStreamQuery(pushing_) == cudaErrorNotReady && !releasing_.joinable()) {
    release();
  }
  cudaStreamSynchronize(pushing_);
  ending_ = true;
  if (releasing_.joinable()) {
    releasing_.join();
  }
  for (size_t r = 0; r < slots_.size(); ++r) {
    if (opened_[r]) {
      cudaIpcCloseMemHandle(slots_[r]);
    }
  }
  cudaStreamDestroy(pushing_);
  cudaEventDestroy(begun_);
  cudaEventDestroy(pushed_);
}

// Another rank that is still at work may set a counter back to where it is: so again and again.
void Peers::release() {
  releasing_ = std::thread([this] {
    while (!ending_) {
      pages_->release(rank_);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  });
}

// Whether this rank reaches all slots and counters. Every rank calls `gather` equally often.
bool Peers::open(const Gather& gather) {
  Invitation own{};
  here().copy(own.here, sizeof own.here - 1);
  own.process = ::getpid();
  own.device = device_.ordinal();
  if (rank_ == 0) {
    std::random_device random;
    std::snprintf(own.pages, sizeof own.pages, "/sft-%d-%08x%08x", ::getpid(), random(), random());
    pages_ = std::make_unique<SharedPages>(own.pages, world_, true);
  }
  own.able = driver_function("cuStreamBatchMemOp", &batch_) && device_.free_memory() > 2 * kBytes;
  if (own.able) {
    own_ = device_.allocate(kBytes);
    own.slots = own_.data();
    own.able = cudaIpcGetMemHandle(&own.handle, own_.data()) == cudaSuccess;
  }
  std::vector<Invitation> all(static_cast<size_t>(world_));
  gather(&own, all.data(), sizeof own);
  bool able = std::ranges::all_of(all, [&](const Invitation& other) {
    return other.able && std::strcmp(other.here, own.here) == 0;
  });
  if (able && rank_ != 0) {
    pages_ = std::make_unique<SharedPages>(all[0].pages, world_, false);
  }
  able = able && pages_->usable();
  for (size_t r = 0; able && r < all.size(); ++r) {
    const Invitation& other = all[r];
    if (static_cast<int>(r) == rank_) {
      slots_[r] = own_.data();
    } else if (other.process == own.process) {
      if (other.device != own.device) {
        const cudaError_t result = cudaDeviceEnablePeerAccess(other.device, 0);
        able = result == cudaSuccess || result == cudaErrorPeerAccessAlreadyEnabled;
      }
      slots_[r] = static_cast<std::byte*>(other.slots);
    } else {
      void* at = nullptr;
      able = cudaIpcOpenMemHandle(&at, other.handle, cudaIpcMemLazyEnablePeerAccess) == cudaSuccess;
      opened_[r] = able;
      slots_[r] = static_cast<std::byte*>(at);
    }
  }
  cudaGetLastError();
  const char done = 1;
  std::vector<char> everybody(static_cast<size_t>(world_));
  gather(&done, everybody.data(), 1);
  if (rank_ == 0) {
    ::shm_unlink(own.pages);
  }
  return able;
}

// A gathering and a sum of known numbers, with time for them.
bool Peers::try_out() {
  constexpr int64_t kCount = 1024;
  constexpr std::chrono::seconds kPatience(10);
  const auto n = static_cast<size_t>(kCount * world_);
  std::vector<float> values(n), found(n);
  std::iota(values.begin(), values.end(), 1.0F);
  const Buffer full = device_.allocate(n * sizeof(float));
  device_.upload(full.data(), values.data(), full.size());
  device_.synchronize();
  float* const own = full.f32() + rank_ * kCount;
  reduce_scatter(full.f32(), own, kCount, false, pushing_);
  all_gather(own, full.data(), kCount * sizeof(float), pushing_);
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (cudaStreamQuery(pushing_) == cudaErrorNotReady) {
    if (std::chrono::steady_clock::now() > until) {
      release();
      cudaStreamSynchronize(pushing_);
      return false;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  device_.download(found.data(), full.data(), full.size());
  for (size_t i = 0; i < n; ++i) {
    if (found[i] != values[i] * static_cast<float>(world_)) {
      return false;
    }
  }
  return true;
}

std::byte* Peers::slot(int at_rank, uint32_t piece, int from) const {
  const size_t number =
      static_cast<size_t>(piece % kSlots) * static_cast<size_t>(world_) + static_cast<size_t>(from);
  return slots_[static_cast<size_t>(at_rank)] + number * piece_;
}

// The stream waits until all others have written `value`, or writes it for them.
void Peers::meet(cudaStream_t stream, Counter counter, uint32_t value, bool waits) {
  std::array<CUstreamBatchMemOpParams, kMostRanks> ops{};
  unsigned count = 0;
  for (int r = 0; r < world_; ++r) {
    if (r == rank_) {
      continue;
    }
    CUstreamBatchMemOpParams& op = ops[count++];
    if (waits) {
      op.waitValue.operation = CU_STREAM_MEM_OP_WAIT_VALUE_32;
      op.waitValue.address = pages_->counter(rank_, counter, r);
      op.waitValue.value = value;
      op.waitValue.flags = CU_STREAM_WAIT_VALUE_GEQ;
    } else {
      op.writeValue.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32;
      op.writeValue.address = pages_->counter(r, counter, rank_);
      op.writeValue.value = value;
    }
  }
  auto* const run = reinterpret_cast<decltype(&cuStreamBatchMemOp)>(batch_);
  if (run(stream, count, ops.data(), 0) != CUDA_SUCCESS) {
    throw Error(kGpuFailed, "the GPU failed in meeting the other ranks");
  }
}

// Sends at most `bytes` to each rank: source(rank, at) says where they lie from `at` on, and how
// many are left. take(piece, at) uses what has come from all others.
template <class Source, class Take>
void Peers::exchange(size_t bytes, cudaStream_t stream, Source&& source, Take&& take) {
  if (stream != pushing_) {
    check_cuda(cudaEventRecord(begun_, stream), "branching");
    check_cuda(cudaStreamWaitEvent(pushing_, begun_), "branching");
  }
  for (size_t at = 0; at < bytes; at += piece_) {
    const uint32_t piece = pieces_++;
    if (piece >= kSlots) {
      meet(pushing_, Counter::taken, piece - kSlots + 1, true);
    }
    for (int k = 1; k < world_; ++k) {  // each rank begins with another one
      const int to = (rank_ + k) % world_;
      const auto [from, left] = source(to, at);
      if (left > 0) {
        check_cuda(cudaMemcpyAsync(slot(to, piece, rank_), from, std::min(left, piece_),
                                   cudaMemcpyDeviceToDevice, pushing_),
                   "a copy to another GPU");
      }
    }
    meet(pushing_, Counter::arrived, piece + 1, false);
    meet(stream, Counter::arrived, piece + 1, true);
    take(piece, at);
    meet(stream, Counter::taken, piece + 1, false);
  }
  if (stream != pushing_) {
    check_cuda(cudaEventRecord(pushed_, pushing_), "joining");
    check_cuda(cudaStreamWaitEvent(stream, pushed_), "joining");
  }
}

// Rank r's slice are the values [r * each, (r + 1) * each) of `total`.
void Peers::reduce(const float* full, int64_t each, int64_t total, float* slice, bool accumulate,
                   cudaStream_t stream) {
  const auto bytes_left = [&](int r, size_t at) {
    const int64_t values = std::clamp<int64_t>(total - r * each, 0, each);
    const size_t bytes = static_cast<size_t>(values) * sizeof(float);
    return bytes > at ? bytes - at : 0;
  };
  exchange(
      static_cast<size_t>(each) * sizeof(float), stream,
      [&](int to, size_t at) {
        const auto* from = reinterpret_cast<const std::byte*>(full + to * each) + at;
        return std::pair(from, bytes_left(to, at));
      },
      [&](uint32_t piece, size_t at) {
        const auto n =
            static_cast<int64_t>(std::min(bytes_left(rank_, at), piece_) / sizeof(float));
        if (n == 0) {
          return;
        }
        const auto first = static_cast<int64_t>(at / sizeof(float));
        Sources sources{};
        for (int r = 0; r < world_; ++r) {
          sources.at[r] = r == rank_ ? full + r * each + first
                                     : reinterpret_cast<const float*>(slot(rank_, piece, r));
        }
        float* const to = slice + first;
        const auto places =
            reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(sources.at[rank_]);
        const bool wide = places % sizeof(float4) == 0 && n % 4 == 0;
        const int64_t work = wide ? n / 4 : n;
        constexpr int kThreads = 256;
        const auto blocks = static_cast<unsigned>(
            std::min<int64_t>((work + kThreads - 1) / kThreads, device_.multiprocessors() * 4L));
        if (wide) {
          sum_in_order<float4>
              <<<blocks, kThreads, 0, stream>>>(sources, world_, to, work, accumulate);
        } else {
          sum_in_order<float>
              <<<blocks, kThreads, 0, stream>>>(sources, world_, to, work, accumulate);
        }
        check_cuda(cudaGetLastError(), "adding the ranks' numbers");
      });
}

void Peers::gather(const std::byte* slice, std::byte* full, size_t each, size_t total,
                   cudaStream_t stream) {
  const auto bytes_left = [&](int r, size_t at) {
    const size_t begin = static_cast<size_t>(r) * each + at;
    return at < each && begin < total ? std::min(each - at, total - begin) : 0;
  };
  std::byte* const own = full + static_cast<size_t>(rank_) * each;
  if (own != slice) {
    check_cuda(cudaMemcpyAsync(own, slice, bytes_left(rank_, 0), cudaMemcpyDeviceToDevice, stream),
               "a copy");
  }
  exchange(
      each, stream, [&](int, size_t at) { return std::pair(slice + at, bytes_left(rank_, at)); },
      [&](uint32_t piece, size_t at) {
        for (int r = 0; r < world_; ++r) {
          const size_t bytes = std::min(bytes_left(r, at), piece_);
          if (r != rank_ && bytes > 0) {
            check_cuda(
                cudaMemcpyAsync(full + static_cast<size_t>(r) * each + at, slot(rank_, piece, r),
                                bytes, cudaMemcpyDeviceToDevice, stream),
                "a copy");
          }
        }
      });
}

void Peers::reduce_scatter(const float* full, float* slice, int64_t n, bool accumulate,
                           cudaStream_t stream) {
  reduce(full, n, n * world_, slice, accumulate, stream);
}

void Peers::all_gather(const void* slice, void* full, size_t bytes, cudaStream_t stream) {
  gather(static_cast<const std::byte*>(slice), static_cast<std::byte*>(full), bytes,
         bytes * static_cast<size_t>(world_), stream);
}

void Peers::all_reduce(float* data, int64_t n, cudaStream_t stream) {
  constexpr int64_t kGrain = 64;
  const int64_t each = ((n + world_ - 1) / world_ + kGrain - 1) / kGrain * kGrain;
  float* const own = data + rank_ * each;
  reduce(data, each, n, own, false, stream);
  gather(reinterpret_cast<const std::byte*>(own), reinterpret_cast<std::byte*>(data),
         static_cast<size_t>(each) * sizeof(float), static_cast<size_t>(n) * sizeof(float), stream);
}

}  // namespace sft
