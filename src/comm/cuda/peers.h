// What the ranks of one machine move between their GPUs goes through copy engines: each rank pushes
// pieces into slots in the others' memory and takes what has come into its own. No multiprocessor
// waits for another GPU, which would hold up the kernels that fill a card, as matrix products do,
// for their whole length. Used by copying.cu.
//
// Two counters for each pair of ranks say how many pieces have come and how many have been taken.
// Streams wait for them, no host does. They lie in shared memory of the host, so that a rank that
// is told to stop can let its own streams go on (release).
#pragma once

#include <cuda_runtime.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "device/cuda/cuda_device.h"

namespace sft {

class Peers {
 public:
  // `all` gets every rank's `bytes`, in rank order; memory of the host.
  using Gather = std::function<void(const void* own, void* all, size_t bytes)>;

  // Every rank calls it. Null on all of them where some cannot reach another's memory, or where
  // what was sent to try it did not come as it was.
  static std::unique_ptr<Peers> connect(CudaDevice& device, int rank, int world,
                                        const Gather& gather);
  ~Peers();
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;

  // As of Communicator, done in the order of `stream`. Sums are taken in rank order.
  void reduce_scatter(const float* full, float* slice, int64_t n, bool accumulate,
                      cudaStream_t stream);
  void all_gather(const void* slice, void* full, size_t bytes, cudaStream_t stream);
  void all_reduce(float* data, int64_t n, cudaStream_t stream);

  // Nothing of this rank waits any more, until this object goes; what arrives from now on is of no
  // use. From any thread, once.
  void release();

  // What it takes of the device's memory.
  static constexpr size_t kBytes = size_t{192} << 20;

 private:
  enum class Counter { arrived, taken };
  class SharedPages;

  Peers(CudaDevice& device, int rank, int world);
  bool open(const Gather& gather);
  bool try_out();
  template <class Source, class Take>
  void exchange(size_t bytes, cudaStream_t stream, Source&& source, Take&& take);
  void reduce(const float* full, int64_t each, int64_t total, float* slice, bool accumulate,
              cudaStream_t stream);
  void gather(const std::byte* slice, std::byte* full, size_t each, size_t total,
              cudaStream_t stream);
  void meet(cudaStream_t stream, Counter counter, uint32_t value, bool waits);
  std::byte* slot(int at_rank, uint32_t piece, int from) const;

  static constexpr uint32_t kSlots = 3;  // pieces on their way from one rank to another

  CudaDevice& device_;
  int rank_, world_;
  size_t piece_;                   // bytes
  Buffer own_;                     // this rank's slots
  std::vector<std::byte*> slots_;  // every rank's, as this rank's device reaches them
  std::vector<bool> opened_;
  std::unique_ptr<SharedPages> pages_;  // the counters
  uint32_t pieces_ = 0;                 // that every rank has sent to every other
  cudaStream_t pushing_ = nullptr;
  cudaEvent_t begun_ = nullptr, pushed_ = nullptr;
  void* batch_ = nullptr;  // cuStreamBatchMemOp
  std::atomic<bool> ending_ = false;
  std::thread releasing_;
};

}  // namespace sft
