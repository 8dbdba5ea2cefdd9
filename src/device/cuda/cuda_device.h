// The CUDA device: one stream, pinned staging for uploads, and a place for what the kernels'
// libraries keep (handles, plans). Used inside libsft_cuda.so only.
#pragma once

#include <cuda_runtime.h>

#include <array>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <typeindex>
#include <unordered_map>
#include <vector>

#include "device/device.h"

namespace sft {

// Throws G021 with CUDA's own words when a call failed.
void check_cuda(cudaError_t result, const char* what);

class CudaDevice : public Device {
 public:
  CudaDevice(int ordinal, int threads, std::filesystem::path cache_folder);
  ~CudaDevice() override;

  std::string name() const override { return name_; }
  size_t free_memory() const override;
  size_t overhead() const override;
  void reserve_workspace(size_t bytes) override;
  void upload(void* to, const void* from, size_t bytes) override;
  void download(void* to, const void* from, size_t bytes) override;
  void download_beside(void* to, const void* from, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;
  void zero(void* to, size_t bytes) override;
  void add(const Tensor& x, Tensor& y, bool accumulate) override;
  void synchronize() override;
  void begin_aside(Lane lane) override;
  int end_aside() override;
  void wait_aside(int ticket) override;
  void await(int ticket) override;
  std::unique_ptr<RecordedWork> record(const std::function<void()>& work) override;
  int mark() override;
  double seconds_between(int from, int to) override;
  void forget_marks() override;
  const OpKernels* op_kernels() const override;
  const OptimKernels* optim_kernels() const override;

  // The stream that kernels are launched on now, and which of the lanes it is; no kernel that needs
  // memory of its own runs in Lane::copies.
  cudaStream_t stream() const { return lane_ == 0 ? stream_ : beside_[lane_ - 1]; }
  int lane() const { return lane_; }
  // Where choices are kept for the next run; empty: nowhere.
  const std::filesystem::path& cache_folder() const { return cache_folder_; }
  int ordinal() const { return ordinal_; }
  int multiprocessors() const { return multiprocessors_; }
  int64_t shared_memory() const override { return shared_memory_; }
  bool hopper() const { return hopper_; }  // compute capability 9.0
  bool recording() const { return recording_; }
  // See reserve_workspace: free for whatever runs next in the main lane.
  const Buffer& workspace() const { return workspaces_.back(); }

  // The device's own T, made from the device when first asked for; lives as long as the device.
  template <class T>
  T& state() {
    std::shared_ptr<void>& slot = states_[std::type_index(typeid(T))];
    if (!slot) {
      slot = std::make_shared<T>(*this);
    }
    return *static_cast<T*>(slot.get());
  }

 protected:
  Buffer take(size_t bytes) override;
  Buffer take_host(size_t bytes) override;

 private:
  // Pinned memory that uploads pass through, piece after piece; an event says when a piece is free.
  static constexpr size_t kPiece = size_t{4} << 20;
  static constexpr size_t kPieces = 8;
  static constexpr size_t kBesidePiece = size_t{8} << 20;

  int ordinal_;
  std::filesystem::path cache_folder_;
  std::string name_;
  int multiprocessors_ = 0;
  int64_t shared_memory_ = 0;
  bool hopper_ = false;
  cudaStream_t stream_ = nullptr;         // the main one goes first
  cudaStream_t beside_[kLanes - 1] = {};  // the other lanes'
  int lane_ = 0;
  // A ring a lane: who waits for a ticket whose event was taken again waits for later work of the
  // same lane, which comes after what was meant.
  static constexpr int kTickets = 128;
  std::array<cudaEvent_t, kLanes * kTickets> tickets_{};
  std::array<int, kLanes> next_ticket_{};
  int take_ticket(int lane);
  std::byte* staging_ = nullptr;
  std::array<cudaEvent_t, kPieces> staged_{};
  size_t next_piece_ = 0;
  cudaStream_t saving_ = nullptr;  // of download_beside, with
  std::byte* saving_staging_ = nullptr;
  std::mutex saving_mutex_;
  bool recording_ = false;
  std::vector<cudaEvent_t> marks_;
  // The last is the largest; recorded work keeps the addresses of those before.
  std::vector<Buffer> workspaces_ = std::vector<Buffer>(1);
  std::unordered_map<std::type_index, std::shared_ptr<void>> states_;
};

inline CudaDevice& cuda(Device& device) { return static_cast<CudaDevice&>(device); }

}  // namespace sft
