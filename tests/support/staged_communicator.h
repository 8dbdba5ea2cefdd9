// Ranks that are threads and share one GPU: what they exchange passes through the host. NCCL wants
// a GPU for each rank, so this is how the sharded programs of a GPU are tested where there is one.
#pragma once

#include <memory>
#include <utility>

#include "comm/communicator.h"

namespace sft {

class StagedCommunicator final : public Communicator {
 public:
  StagedCommunicator(Device& device, Communicator& host) : device_(device), host_(host) {}
  StagedCommunicator(Device& device, std::unique_ptr<Communicator> host)
      : device_(device), owned_(std::move(host)), host_(*owned_) {}

  int rank() const override { return host_.rank(); }
  int size() const override { return host_.size(); }
  std::string name() const override { return host_.name(); }
  void all_reduce(std::span<float> data) override { host_.all_reduce(data); }
  void all_reduce(std::span<double> data) override { host_.all_reduce(data); }
  void broadcast(std::span<std::byte> data) override { host_.broadcast(data); }
  void barrier() override { host_.barrier(); }
  std::unique_ptr<Communicator> split(int color) override {
    return std::make_unique<StagedCommunicator>(device_, host_.split(color));
  }
  void abort(const Error& why) override { host_.abort(why); }

  Ticket begin_reduce_scatter(const float* full, float* slice, int64_t n,
                              bool accumulate) override {
    const auto bytes = static_cast<size_t>(n) * sizeof(float);
    const Buffer whole = fetched(full, bytes * static_cast<size_t>(size()));
    const Buffer own = fetched(slice, bytes);
    host_.wait(host_.begin_reduce_scatter(whole.f32(), own.f32(), n, accumulate));
    device_.upload(slice, own.data(), bytes);
    return 0;
  }
  Ticket begin_all_gather(const void* slice, void* full, size_t bytes) override {
    const Buffer own = fetched(slice, bytes);
    const Buffer whole(bytes * static_cast<size_t>(size()));
    host_.wait(host_.begin_all_gather(own.data(), whole.data(), bytes));
    device_.upload(full, whole.data(), whole.size());
    return 0;
  }
  Ticket begin_all_reduce(float* data, int64_t n) override {
    const Buffer all = fetched(data, static_cast<size_t>(n) * sizeof(float));
    host_.wait(host_.begin_all_reduce(all.f32(), n));
    device_.upload(data, all.data(), all.size());
    return 0;
  }
  void wait(Ticket) override {}

 private:
  Buffer fetched(const void* data, size_t bytes) {
    Buffer out(bytes);
    device_.download(out.data(), data, bytes);
    return out;
  }

  Device& device_;
  std::unique_ptr<Communicator> owned_;
  Communicator& host_;
};

}  // namespace sft
