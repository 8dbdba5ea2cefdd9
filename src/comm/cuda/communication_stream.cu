#include "comm/cuda/communication_stream.h"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

namespace sft {

namespace {

control::Time steady_now() {
  using std::chrono::steady_clock;
  return std::chrono::duration_cast<std::chrono::microseconds>(
             steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

// Tells an operation lane what the stream is at. Events are looked at a few times a second.
class CommunicationStream::Watch {
 public:
  explicit Watch(int ordinal) : ordinal_(ordinal) {}
  ~Watch() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
      changed_.notify_all();
    }
    if (thread_.joinable()) {
      thread_.join();
    }
    for (const Begun& b : begun_) {
      cudaEventDestroy(b.done);
    }
    for (const cudaEvent_t event : spare_) {
      cudaEventDestroy(event);
    }
  }

  void begun(const char* name, size_t bytes, cudaStream_t stream, OperationLane& lane) {
    const std::lock_guard lock(mutex_);
    cudaEvent_t done = nullptr;
    if (spare_.empty()) {
      check_cuda(cudaEventCreateWithFlags(&done, cudaEventDisableTiming), "making an event");
    } else {
      done = spare_.back();
      spare_.pop_back();
    }
    check_cuda(cudaEventRecord(done, stream), "noting an operation");
    begun_.push_back({done, name, static_cast<int64_t>(bytes), steady_now()});
    if (!thread_.joinable()) {
      thread_ = std::thread([this, &lane] { watch(lane); });
    }
  }

 private:
  struct Begun {
    cudaEvent_t done;
    const char* name;
    int64_t bytes;
    control::Time since;
  };

  void watch(OperationLane& lane) {
    cudaSetDevice(ordinal_);
    std::unique_lock lock(mutex_);
    while (!ending_) {
      const control::Time now = steady_now();
      bool moved = false;
      while (!begun_.empty() && cudaEventQuery(begun_.front().done) == cudaSuccess) {
        spare_.push_back(begun_.front().done);
        begun_.pop_front();
        ++done_;
        moved = true;
      }
      if (!begun_.empty()) {
        if (moved || !reported_) {
          begun_.front().since = now;
        }
        const Begun& first = begun_.front();
        lane.at(done_ + 1, true, first.name, first.bytes, first.since);
        reported_ = true;
      } else {
        lane.at(done_, false, nullptr, 0, now);
        reported_ = false;
      }
      changed_.wait_for(lock, std::chrono::milliseconds(100), [&] { return ending_; });
    }
  }

  int ordinal_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Begun> begun_;
  std::vector<cudaEvent_t> spare_;
  int64_t done_ = 0;
  bool reported_ = false, ending_ = false;
  std::thread thread_;
};

CommunicationStream::CommunicationStream(CudaDevice& device)
    : device_(device), watch_(std::make_unique<Watch>(device.ordinal())) {
  // As urgent as what computes: what comes late makes every rank wait.
  int least = 0, most = 0;
  check_cuda(cudaDeviceGetStreamPriorityRange(&least, &most), "asking for priorities");
  check_cuda(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, most),
             "making a stream");
  check_cuda(cudaEventCreateWithFlags(&before_, cudaEventDisableTiming), "making an event");
  for (cudaEvent_t& event : done_) {
    check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "making an event");
  }
}

CommunicationStream::~CommunicationStream() {
  watch_.reset();
  cudaStreamDestroy(stream_);
  cudaEventDestroy(before_);
  for (const cudaEvent_t event : done_) {
    cudaEventDestroy(event);
  }
}

bool CommunicationStream::idle() const { return cudaStreamQuery(stream_) == cudaSuccess; }

void CommunicationStream::branch() {
  check_cuda(cudaEventRecord(before_, device_.stream()), "branching");
  check_cuda(cudaStreamWaitEvent(stream_, before_), "branching");
}

Communicator::Ticket CommunicationStream::end(const char* name, size_t bytes, OperationLane* lane) {
  const Communicator::Ticket ticket = ++begun_;
  check_cuda(cudaEventRecord(done_[ticket % kEvents], stream_), "noting an operation");
  if (lane != nullptr) {
    watch_->begun(name, bytes, stream_, *lane);
  }
  return ticket;
}

void CommunicationStream::wait(Communicator::Ticket ticket) {
  check_cuda(cudaStreamWaitEvent(device_.stream(), done_[ticket % kEvents]), "joining");
}

}  // namespace sft
