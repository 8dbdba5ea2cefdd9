#include "device/cuda/cuda_device.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "core/error.h"
#include "device/cuda/capability.h"
#include "device/cuda/vec.cuh"
#include "device/cuda_library.h"

namespace sft {

void check_cuda(cudaError_t result, const char* what) {
  if (result != cudaSuccess) {
    throw Error(kGpuFailed,
                std::string("the GPU failed in ") + what + ": " + cudaGetErrorString(result));
  }
}

int capability_of(int ordinal) {
  int major = 0;
  int minor = 0;
  check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, ordinal),
             "asking for the compute capability");
  check_cuda(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, ordinal),
             "asking for the compute capability");
#ifdef SFT_CUDA_AT_MOST
  return std::min(10 * major + minor, SFT_CUDA_AT_MOST);
#else
  return 10 * major + minor;
#endif
}

namespace {

// What a block may have of a multiprocessor's memory. A test build leaves as much as the card that
// it passes for has (CUDA's programming guide, technical specifications by compute capability).
int64_t shared_memory_of(const cudaDeviceProp& gpu) {
  const auto here = static_cast<int64_t>(gpu.sharedMemPerBlockOptin);
#ifdef SFT_CUDA_AT_MOST
  constexpr int kPasses = SFT_CUDA_AT_MOST;
  constexpr int64_t kKib = kPasses < 75    ? 96
                           : kPasses < 80  ? 64
                           : kPasses == 80 ? 163
                           : kPasses < 90  ? 99
                                           : 227;
  return std::min(here, kKib << 10);
#else
  return here;
#endif
}

// A library built for other GPUs loads, and fails at its first kernel with words that help nobody.
__global__ void any_kernel() {}

void check_built_for(const cudaDeviceProp& gpu) {
  cudaFuncAttributes attributes;
  if (cudaFuncGetAttributes(&attributes, any_kernel) == cudaSuccess) {
    return;
  }
  cudaGetLastError();
  const std::string capability = std::to_string(gpu.major) + std::to_string(gpu.minor);
  throw Error("G020", std::string("the GPU ") + gpu.name + " has compute capability " +
                          std::to_string(gpu.major) + "." + std::to_string(gpu.minor) +
                          ", and libsft_cuda.so was built for " SFT_CUDA_ARCHITECTURES)
      .hint("build on a machine with that GPU, or with  cmake -B build -DSFT_CUDA_ARCHITECTURES=" +
            capability + (capability == "90" ? "a" : "") + " && cmake --build build");
}

}  // namespace

CudaDevice::CudaDevice(int ordinal, int threads, std::filesystem::path cache_folder)
    : Device(DeviceKind::cuda, threads), ordinal_(ordinal), cache_folder_(std::move(cache_folder)) {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || ordinal >= count) {
    throw Error("G020", "there is no GPU " + std::to_string(ordinal) + " (found " +
                            std::to_string(count) + ")")
        .hint(
            "each rank needs a GPU of its own: start no more of them on a machine than it has "
            "(--nproc_per_node), or train on the CPU with --use_cpu");
  }
  check_cuda(cudaSetDevice(ordinal), "choosing the device");
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, ordinal), "asking for its properties");
  check_built_for(properties);
  name_ = properties.name;
  multiprocessors_ = properties.multiProcessorCount;
  shared_memory_ = shared_memory_of(properties);
  hopper_ = capability_of(ordinal) == 90;
  int least = 0;
  int most = 0;
  check_cuda(cudaDeviceGetStreamPriorityRange(&least, &most), "asking for priorities");
  check_cuda(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, most),
             "making a stream");
  for (cudaStream_t& stream : beside_) {
    check_cuda(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, least),
               "making a stream");
  }
  for (cudaEvent_t& event : tickets_) {
    check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "making an event");
  }
  check_cuda(cudaMallocHost(&staging_, kPieces * kPiece), "allocating pinned memory");
  check_cuda(cudaStreamCreateWithPriority(&saving_, cudaStreamNonBlocking, least),
             "making a stream");
  check_cuda(cudaMallocHost(&saving_staging_, kBesidePiece), "allocating pinned memory");
  for (cudaEvent_t& event : staged_) {
    check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "making an event");
  }
}

CudaDevice::~CudaDevice() {
  cudaStreamSynchronize(stream_);
  states_.clear();
  CudaDevice::forget_marks();
  for (const cudaEvent_t event : staged_) {
    cudaEventDestroy(event);
  }
  cudaFreeHost(staging_);
  cudaFreeHost(saving_staging_);
  cudaStreamDestroy(saving_);
  for (const cudaEvent_t event : tickets_) {
    cudaEventDestroy(event);
  }
  cudaStreamDestroy(stream_);
  for (const cudaStream_t stream : beside_) {
    cudaStreamDestroy(stream);
  }
}

size_t CudaDevice::free_memory() const {
  size_t free = 0;
  size_t total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "asking for free memory");
  return free;
}

// Kernels are loaded when they are first used, those of cuBLAS and cuDNN too; beside them the
// workspaces of products and reductions (ops/cuda).
size_t CudaDevice::overhead() const { return size_t{768} << 20; }

void CudaDevice::reserve_workspace(size_t bytes) {
  if (bytes > workspace().size()) {
    workspaces_.push_back(allocate(bytes));
  }
}

Buffer CudaDevice::take(size_t bytes) {
  if (bytes == 0) {
    return {};
  }
  void* data = nullptr;
  if (cudaMalloc(&data, bytes) != cudaSuccess) {
    cudaGetLastError();
    const auto gib = [](size_t n) {
      return std::to_string(static_cast<double>(n) / (1U << 30U)).substr(0, 5) + " GiB";
    };
    throw Error("G001",
                "cannot allocate " + gib(bytes) + " on the GPU (" + gib(free_memory()) + " free)")
        .hint("use a smaller --per_device_train_batch_size or --max_length");
  }
  check_cuda(cudaMemsetAsync(data, 0, bytes, stream_), "clearing memory");
  synchronize();  // before another stream uses it
  return {data, bytes, [](void* p, size_t) { cudaFree(p); }};
}

Buffer CudaDevice::take_host(size_t bytes) {
  if (bytes == 0) {
    return {};
  }
  void* data = nullptr;
  if (cudaMallocHost(&data, bytes) != cudaSuccess) {
    cudaGetLastError();
    throw Error("G001", "cannot allocate " + std::to_string(bytes >> 20U) +
                            " MiB of pinned memory (" + std::to_string(available_memory() >> 20U) +
                            " MiB available to the host)")
        .hint("leave the offloading out, or raise the limit of locked memory (ulimit -l)");
  }
  std::memset(data, 0, bytes);
  return {data, bytes, [](void* p, size_t) { cudaFreeHost(p); }};
}

void CudaDevice::upload(void* to, const void* from, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const size_t n = std::min(kPiece, bytes - done);
    const size_t piece = next_piece_++ % kPieces;
    check_cuda(cudaEventSynchronize(staged_[piece]), "an upload");
    std::memcpy(staging_ + piece * kPiece, static_cast<const std::byte*>(from) + done, n);
    // `to` may be memory of the host that the device reads.
    check_cuda(cudaMemcpyAsync(static_cast<std::byte*>(to) + done, staging_ + piece * kPiece, n,
                               cudaMemcpyDefault, stream_),
               "an upload");
    check_cuda(cudaEventRecord(staged_[piece], stream_), "an upload");
    done += n;
  }
}

void CudaDevice::download(void* to, const void* from, size_t bytes) {
  // Two pieces ahead of the copy out of pinned memory.
  const auto start = [&](size_t done, size_t piece) {
    const size_t n = std::min(kPiece, bytes - done);
    check_cuda(
        cudaMemcpyAsync(staging_ + piece * kPiece, static_cast<const std::byte*>(from) + done, n,
                        cudaMemcpyDeviceToHost, stream_),
        "a download");
    check_cuda(cudaEventRecord(staged_[piece], stream_), "a download");
  };
  if (bytes == 0) {
    return;
  }
  synchronize();
  for (size_t i = 0; i < kPieces && i * kPiece < bytes; ++i) {
    start(i * kPiece, i);
  }
  for (size_t done = 0, i = 0; done < bytes; done += kPiece, ++i) {
    const size_t piece = i % kPieces;
    check_cuda(cudaEventSynchronize(staged_[piece]), "a download");
    std::memcpy(static_cast<std::byte*>(to) + done, staging_ + piece * kPiece,
                std::min(kPiece, bytes - done));
    if (done + kPieces * kPiece < bytes) {
      start(done + kPieces * kPiece, piece);
    }
  }
}

void CudaDevice::download_beside(void* to, const void* from, size_t bytes) {
  check_cuda(cudaSetDevice(ordinal_), "choosing the device");  // per thread
  for (size_t done = 0; done < bytes;) {
    const size_t n = std::min(kBesidePiece, bytes - done);
    const std::lock_guard lock(saving_mutex_);
    check_cuda(cudaMemcpyAsync(saving_staging_, static_cast<const std::byte*>(from) + done, n,
                               cudaMemcpyDeviceToHost, saving_),
               "a download");
    check_cuda(cudaStreamSynchronize(saving_), "a download");
    std::memcpy(static_cast<std::byte*>(to) + done, saving_staging_, n);
    done += n;
  }
}

void CudaDevice::copy(void* to, const void* from, size_t bytes) {
  if (to != from && bytes > 0) {
    check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream()), "a copy");
  }
}

void CudaDevice::zero(void* to, size_t bytes) {
  check_cuda(cudaMemsetAsync(to, 0, bytes, stream()), "clearing memory");
}

void CudaDevice::synchronize() {
  for (const cudaStream_t stream : beside_) {
    check_cuda(cudaStreamSynchronize(stream), "the work before");
  }
  check_cuda(cudaStreamSynchronize(stream_), "the work before");
}

int CudaDevice::take_ticket(int lane) {
  int& next = next_ticket_[static_cast<size_t>(lane)];
  const int ticket = lane * kTickets + next;
  next = (next + 1) % kTickets;
  return ticket;
}

void CudaDevice::begin_aside(Lane lane) {
  const cudaEvent_t now = tickets_[static_cast<size_t>(take_ticket(0))];
  check_cuda(cudaEventRecord(now, stream_), "branching");
  lane_ = static_cast<int>(lane);
  check_cuda(cudaStreamWaitEvent(stream(), now), "branching");
}

int CudaDevice::end_aside() {
  const int ticket = take_ticket(lane_);
  check_cuda(cudaEventRecord(tickets_[static_cast<size_t>(ticket)], stream()), "branching");
  lane_ = 0;
  return ticket;
}

void CudaDevice::wait_aside(int ticket) {
  check_cuda(cudaStreamWaitEvent(stream_, tickets_[static_cast<size_t>(ticket)]), "joining");
}

void CudaDevice::await(int ticket) {
  check_cuda(cudaEventSynchronize(tickets_[static_cast<size_t>(ticket)]), "work aside");
}

int CudaDevice::mark() {
  cudaEvent_t event = nullptr;
  check_cuda(cudaEventCreate(&event), "making an event");
  marks_.push_back(event);
  check_cuda(cudaEventRecord(event, stream()), "marking");
  return static_cast<int>(marks_.size()) - 1;
}

double CudaDevice::seconds_between(int from, int to) {
  const cudaEvent_t begin = marks_.at(static_cast<size_t>(from));
  const cudaEvent_t end = marks_.at(static_cast<size_t>(to));
  check_cuda(cudaEventSynchronize(begin), "the work before");
  check_cuda(cudaEventSynchronize(end), "the work before");
  float milliseconds = 0.0F;
  check_cuda(cudaEventElapsedTime(&milliseconds, begin, end), "timing");
  return milliseconds * 1e-3;
}

void CudaDevice::forget_marks() {
  for (const cudaEvent_t event : marks_) {
    cudaEventDestroy(event);
  }
  marks_.clear();
}

namespace {

template <class X, class Y>
__global__ void add_kernel(const X* x, Y* y, int64_t n, bool accumulate) {
  const int64_t stride = int64_t{gridDim.x} * blockDim.x * kVec;
  for (int64_t i = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kVec; i < n; i += stride) {
    const bool whole = i + kVec <= n;
    Vec a = whole ? load_vec(x + i) : load_some(x + i, n - i);
    if (accumulate) {
      const Vec b = whole ? load_vec(y + i) : load_some(y + i, n - i);
#pragma unroll
      for (int k = 0; k < kVec; ++k) {
        a.v[k] += b.v[k];
      }
    }
    if (whole) {
      store_vec(y + i, a);
    } else {
      store_some(y + i, a, n - i);
    }
  }
}

// Device work in a CUDA graph.
class RecordedGraph : public RecordedWork {
 public:
  RecordedGraph(cudaGraph_t graph, cudaStream_t stream) : stream_(stream) {
    check_cuda(cudaGraphInstantiate(&work_, graph, 0), "instantiating a graph");
  }
  ~RecordedGraph() override { cudaGraphExecDestroy(work_); }
  void launch() override { check_cuda(cudaGraphLaunch(work_, stream_), "launching a graph"); }

 private:
  cudaGraphExec_t work_ = nullptr;
  cudaStream_t stream_;
};

}  // namespace

void CudaDevice::add(const Tensor& x, Tensor& y, bool accumulate) {
  const int64_t n = x.shape.elements();
  if (n == 0) {
    return;
  }
  constexpr int kThreads = 256;
  const int64_t wanted = (n + kThreads * kVec - 1) / (kThreads * kVec);
  const auto blocks = static_cast<unsigned>(std::min<int64_t>(wanted, multiprocessors_ * 16L));
  with_type(x.dtype, [&](auto from) {
    with_type(y.dtype, [&](auto to) {
      using X = decltype(from);
      using Y = decltype(to);
      add_kernel<<<blocks, kThreads, 0, stream()>>>(x.as<X>(), y.as<Y>(), n, accumulate);
    });
  });
  check_cuda(cudaGetLastError(), "add");
}

std::unique_ptr<RecordedWork> CudaDevice::record(const std::function<void()>& work) {
  check_cuda(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "recording");
  recording_ = true;
  cudaGraph_t graph = nullptr;
  try {
    work();
  } catch (...) {
    recording_ = false;
    lane_ = 0;
    cudaStreamEndCapture(stream_, &graph);
    cudaGraphDestroy(graph);
    throw;
  }
  recording_ = false;
  check_cuda(cudaStreamEndCapture(stream_, &graph), "recording");
  auto recorded = std::make_unique<RecordedGraph>(graph, stream_);
  cudaGraphDestroy(graph);
  return recorded;
}

}  // namespace sft

extern "C" __attribute__((visibility("default"))) int sft_cuda_capability(int ordinal) {
  return sft::capability_of(ordinal);
}

extern "C" __attribute__((visibility("default"))) sft::Device* sft_open_cuda(
    int ordinal, int threads, const char* cache_folder) {
  return new sft::CudaDevice(ordinal, threads, cache_folder);
}
