// A stream for what ranks exchange, beside the device's own and joined to it by events. A thread
// watches which operation is under way, so that a rank that hangs can say in what. Used by the
// communicators between GPUs.
#pragma once

#include <cuda_runtime.h>

#include <array>
#include <memory>

#include "comm/communicator.h"
#include "device/cuda/cuda_device.h"

namespace sft {

class CommunicationStream {
 public:
  explicit CommunicationStream(CudaDevice& device);
  ~CommunicationStream();
  CommunicationStream(const CommunicationStream&) = delete;
  CommunicationStream& operator=(const CommunicationStream&) = delete;

  cudaStream_t get() const { return stream_; }
  bool idle() const;

  // `work` puts something onto the stream, behind what the device was given before. `name` is a
  // literal; `lane` (null: nobody) is told of it.
  template <class Work>
  Communicator::Ticket begin(const char* name, size_t bytes, OperationLane* lane, Work&& work) {
    branch();
    work();
    return end(name, bytes, lane);
  }
  // What the device is given from now on comes after it.
  void wait(Communicator::Ticket ticket);

 private:
  class Watch;
  // What was begun longer ago is done before what took its event.
  static constexpr size_t kEvents = 256;

  void branch();
  Communicator::Ticket end(const char* name, size_t bytes, OperationLane* lane);

  CudaDevice& device_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t before_ = nullptr;
  std::array<cudaEvent_t, kEvents> done_{};
  Communicator::Ticket begun_ = 0;
  std::unique_ptr<Watch> watch_;
};

}  // namespace sft
