// Ranks of one machine whose large exchanges go through copy engines (peers.h), and whose small
// things go through another communicator.
#include <mutex>
#include <optional>
#include <utility>

#include "comm/communicator.h"
#include "comm/cuda/communication_stream.h"
#include "comm/cuda/peers.h"

namespace sft {

namespace {

class Copying final : public Communicator {
 public:
  Copying(CudaDevice& device, std::unique_ptr<Communicator> rest, std::unique_ptr<Peers> peers)
      : device_(device), rest_(std::move(rest)), stream_(device), peers_(std::move(peers)) {}

  ~Copying() override {
    const std::lock_guard lock(mutex_);
    if (!aborted_ && !stream_.idle()) {
      peers_->release();
    }
    cudaStreamSynchronize(stream_.get());
  }

  void report_to(RankControl& control) override {
    Communicator::report_to(control);
    rest_->report_to(control);
  }

  int rank() const override { return rest_->rank(); }
  int size() const override { return rest_->size(); }
  std::string name() const override {
    return "copy engines, small things through " + rest_->name();
  }

  void all_reduce(std::span<float> data) override { rest_->all_reduce(data); }
  void all_reduce(std::span<double> data) override { rest_->all_reduce(data); }
  void broadcast(std::span<std::byte> data) override { rest_->broadcast(data); }
  void barrier() override { rest_->barrier(); }

  std::unique_ptr<Communicator> split(int color) override {
    auto part = copying(device_, rest_->split(color));
    if (control() != nullptr) {
      part->report_to(*control());
    }
    return part;
  }

  void abort(const Error& why) override {
    const std::lock_guard lock(mutex_);
    if (!aborted_) {
      aborted_ = why;
      peers_->release();
      rest_->abort(why);
    }
  }

  Ticket begin_reduce_scatter(const float* full, float* slice, int64_t n,
                              bool accumulate) override {
    const size_t bytes = static_cast<size_t>(n) * sizeof(float) * static_cast<size_t>(size());
    return begin("reduce-scatter", bytes,
                 [&] { peers_->reduce_scatter(full, slice, n, accumulate, stream_.get()); });
  }
  Ticket begin_all_gather(const void* slice, void* full, size_t bytes) override {
    return begin("all-gather", bytes * static_cast<size_t>(size()),
                 [&] { peers_->all_gather(slice, full, bytes, stream_.get()); });
  }
  Ticket begin_all_reduce(float* data, int64_t n) override {
    return begin("all-reduce", static_cast<size_t>(n) * sizeof(float),
                 [&] { peers_->all_reduce(data, n, stream_.get()); });
  }
  void wait(Ticket ticket) override {
    check();
    stream_.wait(ticket);
  }

  // `rest` itself where copy engines do not reach.
  static std::unique_ptr<Communicator> copying(CudaDevice& device,
                                               std::unique_ptr<Communicator> rest) {
    Communicator& through = *rest;
    const auto gather = [&](const void* own, void* all, size_t bytes) {
      const Buffer memory = device.allocate(bytes * static_cast<size_t>(through.size()));
      std::byte* const place = memory.data() + static_cast<size_t>(through.rank()) * bytes;
      device.upload(place, own, bytes);
      through.wait(through.begin_all_gather(place, memory.data(), bytes));
      device.download(all, memory.data(), memory.size());
    };
    auto peers = Peers::connect(device, rest->rank(), rest->size(), gather);
    if (!peers) {
      return rest;
    }
    return std::make_unique<Copying>(device, std::move(rest), std::move(peers));
  }

 private:
  void check() {
    const std::lock_guard lock(mutex_);
    if (aborted_) {
      throw *aborted_;
    }
  }
  template <class Work>
  Ticket begin(const char* name, size_t bytes, Work&& work) {
    check();
    return stream_.begin(name, bytes, lane(), std::forward<Work>(work));
  }

  CudaDevice& device_;
  std::unique_ptr<Communicator> rest_;
  CommunicationStream stream_;
  std::unique_ptr<Peers> peers_;
  std::mutex mutex_;
  std::optional<Error> aborted_;
};

}  // namespace

}  // namespace sft

extern "C" __attribute__((visibility("default"))) sft::Communicator* sft_copying_open(
    sft::Device* device, sft::Communicator* rest) {
  return sft::Copying::copying(sft::cuda(*device), std::unique_ptr<sft::Communicator>(rest))
      .release();
}
