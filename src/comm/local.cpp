#include <cstring>

#include "comm/queued.h"

namespace sft {

namespace {

class Local final : public QueuedCommunicator {
 public:
  ~Local() override { stop(); }
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::string name() const override { return "nothing"; }
  std::unique_ptr<Communicator> split(int) override { return local_communicator(); }
  void abort(const Error&) override {}

 private:
  void reduce(std::span<float>) override {}
  void reduce(std::span<double>) override {}
  void give(std::span<std::byte>) override {}
  void meet() override {}
  void reduce_scatter(const float* full, float* slice, int64_t n, bool accumulate) override {
    if (full != slice) {
      sum_in_order<float>(std::span(&full, 1), slice, n, accumulate);
    }
  }
  void all_gather(const std::byte* slice, std::byte* full, size_t bytes) override {
    if (full != slice) {
      std::memcpy(full, slice, bytes);
    }
  }
};

}  // namespace

std::unique_ptr<Communicator> local_communicator() { return std::make_unique<Local>(); }

}  // namespace sft
