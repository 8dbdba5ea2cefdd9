// Ranks on GPUs, over NCCL.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <future>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "comm/communicator.h"
#include "comm/cuda/communication_stream.h"
#include "comm/cuda/nccl_api.h"
#include "comm/lost_rank.h"
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

class Nccl final : public Communicator {
 public:
  Nccl(CudaDevice& device, nccl::Comm* comm) : device_(device), comm_(comm), stream_(device) {
    check_nccl(api().comm_user_rank(comm, &rank_), "asking for the rank");
    check_nccl(api().comm_count(comm, &world_), "asking for the size");
  }

  ~Nccl() override {
    const std::lock_guard lock(mutex_);
    if (!aborted_) {
      // A rank that leaves in an error may leave operations that nobody will finish.
      if (stream_.idle()) {
        api().comm_destroy(comm_);
      } else {
        api().comm_abort(comm_);
      }
    }
  }

  int rank() const override { return rank_; }
  int size() const override { return world_; }
  std::string name() const override {
    int version = 0;
    check_nccl(api().get_version(&version), "asking for the version");
    return "NCCL " + std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) +
           "." + std::to_string(version % 100);
  }

  void abort(const Error& why) override {
    const std::lock_guard lock(mutex_);
    if (!aborted_) {
      aborted_ = why;
      cudaSetDevice(device_.ordinal());
      api().comm_abort(comm_);
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
      return api().broadcast(at, at, data.size(), Type::int8, 0, comm_, stream_.get());
    });
  }
  void barrier() override {
    float nothing = 0;
    all_reduce(std::span(&nothing, 1));
  }

  Ticket begin_reduce_scatter(const float* full, float* slice, int64_t n,
                              bool accumulate) override {
    const auto count = static_cast<size_t>(n);
    return begin("reduce-scatter", count * sizeof(float) * static_cast<size_t>(world_), [&] {
      float* const to = accumulate ? const_cast<float*>(full) + rank_ * n : slice;
      check_nccl(
          api().reduce_scatter(full, to, count, Type::float32, nccl::kSum, comm_, stream_.get()),
          "a reduce-scatter");
      if (accumulate && n > 0) {
        constexpr int kThreads = 256;
        const auto blocks = static_cast<unsigned>(
            std::min<int64_t>((n + kThreads - 1) / kThreads, device_.multiprocessors() * 8L));
        add_into<<<blocks, kThreads, 0, stream_.get()>>>(to, slice, n);
      }
    });
  }
  Ticket begin_all_gather(const void* slice, void* full, size_t bytes) override {
    return begin("all-gather", bytes * static_cast<size_t>(world_), [&] {
      check_nccl(api().all_gather(slice, full, bytes, Type::int8, comm_, stream_.get()),
                 "an all-gather");
    });
  }
  Ticket begin_all_reduce(float* data, int64_t n) override {
    const auto count = static_cast<size_t>(n);
    return begin("all-reduce", count * sizeof(float), [&] {
      check_nccl(
          api().all_reduce(data, data, count, Type::float32, nccl::kSum, comm_, stream_.get()),
          "an all-reduce");
    });
  }
  void wait(Ticket ticket) override {
    check();
    stream_.wait(ticket);
  }

 private:
  void check() {
    const std::lock_guard lock(mutex_);
    if (!aborted_) {
      nccl::Result failed = nccl::kSuccess;
      api().comm_get_async_error(comm_, &failed);
      if (failed != nccl::kSuccess && failed != nccl::kInProgress) {
        aborted_ = Error(kRankLost, "rank " + std::to_string(rank_) +
                                        " has lost another rank: " + api().get_error_string(failed))
                       .hint("that rank's own error, if it could still say one, is the cause");
        api().comm_abort(comm_);
      }
    }
    if (aborted_) {
      throw *aborted_;
    }
  }

  template <class Work>
  Ticket begin(const char* name, size_t bytes, Work&& work) {
    check();
    return stream_.begin(name, bytes, lane(), std::forward<Work>(work));
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
      return api().all_reduce(at, at, count, type, nccl::kSum, comm_, stream_.get());
    });
  }

  CudaDevice& device_;
  nccl::Comm* comm_;
  int rank_ = 0, world_ = 1;
  CommunicationStream stream_;
  Buffer staging_;
  std::mutex mutex_;
  std::optional<Error> aborted_;
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
