// Ranks on GPUs: a stream of their own beside the device's, joined by events. What is large goes
// through copy engines where all ranks are on one machine (peers.h), the rest through NCCL. A thread
// watches which operation is under way, so that a rank that hangs can say in what.
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <future>
#include <mutex>
#include <optional>
#include <thread>

#include "comm/communicator.h"
#include "comm/cuda/nccl_api.h"
#include "comm/cuda/peers.h"
#include "device/cuda/cuda_device.h"

namespace sft {

namespace {

using nccl::api;
using nccl::Type;

void check_nccl(nccl::Result result, const char* what) {
  if (result != nccl::kSuccess && result != nccl::kInProgress) {
    std::string why = api().get_error_string(result);
    if (const char* last = api().get_last_error(nullptr); last != nullptr && *last != '\0') {
      why += std::string(": ") + last;
    }
    throw Error("G023", std::string("NCCL failed in ") + what + ": " + why)
        .hint("NCCL_DEBUG=INFO  tells more");
  }
}

__global__ void add_into(const float* from, float* to, int64_t n) {
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += stride) {
    to[i] += from[i];
  }
}

control::Time steady_now() {
  using std::chrono::steady_clock;
  return std::chrono::duration_cast<std::chrono::microseconds>(
             steady_clock::now().time_since_epoch())
      .count();
}

// Tells an operation lane what the stream is at. Events are looked at a few times a second.
class StreamWatch {
 public:
  explicit StreamWatch(int ordinal) : ordinal_(ordinal) {}
  ~StreamWatch() {
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
        if (moved || !told_) {
          begun_.front().since = now;
        }
        const Begun& first = begun_.front();
        lane.at(done_ + 1, true, first.name, first.bytes, first.since);
        told_ = true;
      } else {
        lane.at(done_, false, nullptr, 0, now);
        told_ = false;
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
  bool told_ = false, ending_ = false;
  std::thread thread_;
};

class Nccl final : public Communicator {
 public:
  Nccl(CudaDevice& device, nccl::Comm* comm)
      : device_(device), comm_(comm), watch_(device.ordinal()) {
    check_nccl(api().comm_user_rank(comm, &rank_), "asking for the rank");
    check_nccl(api().comm_count(comm, &world_), "asking for the size");
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

  ~Nccl() override {
    const std::lock_guard lock(mutex_);
    if (peers_ && !aborted_ && cudaStreamQuery(stream_) != cudaSuccess) {
      peers_->release();
    }
    if (!aborted_) {
      // A rank that leaves in an error may leave operations that nobody will finish.
      if (cudaStreamQuery(stream_) == cudaSuccess) {
        api().comm_destroy(comm_);
      } else {
        api().comm_abort(comm_);
      }
    }
    cudaStreamDestroy(stream_);
    cudaEventDestroy(before_);
    for (const cudaEvent_t event : done_) {
      cudaEventDestroy(event);
    }
  }

  int rank() const override { return rank_; }
  int size() const override { return world_; }

  void abort(const Error& why) override {
    const std::lock_guard lock(mutex_);
    if (!aborted_) {
      break_off(why);
    }
  }

  std::unique_ptr<Communicator> split(int color) override {
    check();
    nccl::Comm* made = nullptr;
    check_nccl(api().comm_split(comm_, color, rank_, &made, nullptr), "splitting the ranks");
    auto part = std::make_unique<Nccl>(device_, made);
    if (control() != nullptr) {
      part->report_to(*control());
    }
    return part;
  }

  void all_reduce(std::span<float> data) override {
    reduce(data.data(), data.size(), Type::float32);
  }
  void all_reduce(std::span<double> data) override {
    reduce(data.data(), data.size(), Type::float64);
  }
  void broadcast(std::span<std::byte> data) override {
    staged("broadcast", data.data(), data.size(), [&](void* at) {
      return api().broadcast(at, at, data.size(), Type::int8, 0, comm_, stream_);
    });
  }
  void barrier() override {
    float nothing = 0;
    all_reduce(std::span(&nothing, 1));
  }

  Ticket begin_reduce_scatter(const float* full, float* slice, int64_t n,
                              bool accumulate) override {
    const auto count = static_cast<size_t>(n);
    Peers* const near = peers();
    return begin("reduce-scatter", count * sizeof(float) * static_cast<size_t>(world_), [&] {
      if (near != nullptr) {
        near->reduce_scatter(full, slice, n, accumulate, stream_);
        return;
      }
      float* const to = accumulate ? const_cast<float*>(full) + rank_ * n : slice;
      check_nccl(api().reduce_scatter(full, to, count, Type::float32, nccl::kSum, comm_, stream_),
                 "a reduce-scatter");
      if (accumulate && n > 0) {
        constexpr int kThreads = 256;
        const auto blocks = static_cast<unsigned>(
            std::min<int64_t>((n + kThreads - 1) / kThreads, device_.multiprocessors() * 8L));
        add_into<<<blocks, kThreads, 0, stream_>>>(to, slice, n);
      }
    });
  }
  Ticket begin_all_gather(const void* slice, void* full, size_t bytes) override {
    Peers* const near = peers();
    return begin("all-gather", bytes * static_cast<size_t>(world_), [&] {
      if (near != nullptr) {
        near->all_gather(slice, full, bytes, stream_);
        return;
      }
      check_nccl(api().all_gather(slice, full, bytes, Type::int8, comm_, stream_), "an all-gather");
    });
  }
  Ticket begin_all_reduce(float* data, int64_t n) override {
    const auto count = static_cast<size_t>(n);
    Peers* const near = peers();
    return begin("all-reduce", count * sizeof(float), [&] {
      if (near != nullptr) {
        near->all_reduce(data, n, stream_);
        return;
      }
      check_nccl(api().all_reduce(data, data, count, Type::float32, nccl::kSum, comm_, stream_),
                 "an all-reduce");
    });
  }
  void wait(Ticket ticket) override {
    check();
    check_cuda(cudaStreamWaitEvent(device_.stream(), done_[ticket % kEvents]), "joining");
  }

 private:
  // What was begun longer ago is done before what took its event.
  static constexpr size_t kEvents = 256;

  void check() {
    const std::lock_guard lock(mutex_);
    if (!aborted_) {
      nccl::Result failed = nccl::kSuccess;
      api().comm_get_async_error(comm_, &failed);
      if (failed != nccl::kSuccess && failed != nccl::kInProgress) {
        break_off(Error("N040", "rank " + std::to_string(rank_) +
                                    " has lost another rank: " + api().get_error_string(failed))
                      .hint("that rank's own error, if it could still say one, is the cause"));
      }
    }
    if (aborted_) {
      throw *aborted_;
    }
  }

  // With mutex_ held.
  void break_off(const Error& why) {
    aborted_ = why;
    cudaSetDevice(device_.ordinal());
    if (peers_) {
      peers_->release();
    }
    api().comm_abort(comm_);
  }

  // Null where they do not reach. Every rank asks before the same operation.
  Peers* peers() {
    if (!peers_sought_) {
      peers_sought_ = true;
      auto found =
          Peers::connect(device_, rank_, world_, [&](const void* own, void* all, size_t bytes) {
            gather(own, static_cast<std::byte*>(all), bytes);
          });
      const std::lock_guard lock(mutex_);
      peers_ = std::move(found);
    }
    return peers_.get();
  }

  void gather(const void* own, std::byte* all, size_t bytes) {
    const size_t place = static_cast<size_t>(rank_) * bytes;
    std::memcpy(all + place, own, bytes);
    staged("all-gather", all, bytes * static_cast<size_t>(world_), [&](std::byte* at) {
      return api().all_gather(at + place, at, bytes, Type::int8, comm_, stream_);
    });
  }

  template <class Work>
  Ticket begin(const char* name, size_t bytes, Work&& work) {
    check();
    check_cuda(cudaEventRecord(before_, device_.stream()), "branching");
    check_cuda(cudaStreamWaitEvent(stream_, before_), "branching");
    work();
    const Ticket ticket = ++begun_;
    check_cuda(cudaEventRecord(done_[ticket % kEvents], stream_), "noting an operation");
    if (lane() != nullptr) {
      watch_.begun(name, bytes, stream_, *lane());
    }
    return ticket;
  }

  // Something small of the host's, by way of the device.
  template <class Work>
  void staged(const char* name, void* data, size_t bytes, Work&& work) {
    if (bytes == 0) {
      return;
    }
    if (staging_.size() < bytes) {
      staging_ = device_.allocate(std::max<size_t>(bytes, size_t{64} << 10));
    }
    device_.upload(staging_.data(), data, bytes);
    wait(begin(name, bytes, [&] { check_nccl(work(staging_.data()), name); }));
    device_.download(data, staging_.data(), bytes);
    check();
  }

  void reduce(void* data, size_t count, Type type) {
    const size_t width = type == Type::float64 ? sizeof(double) : sizeof(float);
    staged("all-reduce", data, count * width, [&](void* at) {
      return api().all_reduce(at, at, count, type, nccl::kSum, comm_, stream_);
    });
  }

  CudaDevice& device_;
  nccl::Comm* comm_;
  int rank_ = 0, world_ = 1;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t before_ = nullptr;
  std::array<cudaEvent_t, kEvents> done_{};
  Ticket begun_ = 0;
  Buffer staging_;
  std::mutex mutex_;
  std::optional<Error> aborted_;
  StreamWatch watch_;
  bool peers_sought_ = false;
  std::unique_ptr<Peers> peers_;
};

// Connecting cannot be broken off from outside: it runs in a thread that is left to itself when it
// takes too long, because the process ends then.
nccl::Comm* connect(int ordinal, int rank, int world, const char* id, int64_t timeout_ms) {
  nccl::UniqueId unique{};
  std::memcpy(unique.bytes, id, sizeof unique.bytes);
  auto made = std::make_shared<std::promise<nccl::Comm*>>();
  std::future<nccl::Comm*> result = made->get_future();
  std::thread([=] {
    try {
      check_cuda(cudaSetDevice(ordinal), "choosing the device");
      nccl::Comm* comm = nullptr;
      check_nccl(api().comm_init_rank(&comm, world, unique, rank), "connecting the ranks");
      made->set_value(comm);
    } catch (...) {
      made->set_exception(std::current_exception());
    }
  }).detach();
  if (result.wait_for(std::chrono::milliseconds(timeout_ms)) != std::future_status::ready) {
    throw Error("N041", "rank " + std::to_string(rank) + " of " + std::to_string(world) +
                            " could not connect to the others through NCCL in " +
                            std::to_string(timeout_ms / 1000) + " s")
        .hint(
            "name the network with  NCCL_SOCKET_IFNAME=eth0  and see that the hosts reach each "
            "other");
  }
  return result.get();
}

}  // namespace

}  // namespace sft

extern "C" __attribute__((visibility("default"))) void sft_nccl_make_id(char* id) {
  sft::nccl::UniqueId unique{};
  sft::check_nccl(sft::nccl::api().get_unique_id(&unique), "making an id");
  std::memcpy(id, unique.bytes, sizeof unique.bytes);
}

extern "C" __attribute__((visibility("default"))) sft::Communicator* sft_nccl_open(
    sft::Device* device, int rank, int world, const char* id, int64_t timeout_ms) {
  sft::CudaDevice& gpu = sft::cuda(*device);
  return new sft::Nccl(gpu, sft::connect(gpu.ordinal(), rank, world, id, timeout_ms));
}
