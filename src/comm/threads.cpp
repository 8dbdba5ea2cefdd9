#include <condition_variable>
#include <cstring>
#include <mutex>

#include "comm/communicator.h"
#include "core/error.h"

namespace sft {

namespace {

// What the ranks share: a barrier that can be broken, and where each rank's data lies.
struct Meeting {
  explicit Meeting(int world) : data(static_cast<size_t>(world)) {}

  void wait() {
    std::unique_lock lock(mutex);
    const uint64_t mine = round;
    if (!broken && ++arrived == data.size()) {
      arrived = 0;
      ++round;
      met.notify_all();
    }
    met.wait(lock, [&] { return round != mine || broken; });
    if (round == mine) {
      throw Error("N001", "another rank of this run has ended").hint("see its error above");
    }
  }

  void leave() {
    const std::lock_guard lock(mutex);
    broken = true;
    met.notify_all();
  }

  std::mutex mutex;
  std::condition_variable met;
  size_t arrived = 0;
  uint64_t round = 0;
  bool broken = false;
  std::vector<void*> data;
};

class Threads final : public Communicator {
 public:
  Threads(std::shared_ptr<Meeting> meeting, int rank, int world)
      : meeting_(std::move(meeting)), rank_(rank), world_(world) {}
  ~Threads() override { meeting_->leave(); }

  int rank() const override { return rank_; }
  int size() const override { return world_; }
  void all_reduce(std::span<float> data) override { reduce(data); }
  void all_reduce(std::span<double> data) override { reduce(data); }
  void barrier() override { meeting_->wait(); }

  void broadcast(std::span<std::byte> data) override {
    publish(data.data());
    if (rank_ != 0) {
      std::memcpy(data.data(), meeting_->data[0], data.size());
    }
    meeting_->wait();
  }

 private:
  void publish(void* data) {
    meeting_->data[static_cast<size_t>(rank_)] = data;
    meeting_->wait();
  }

  // Each rank adds up its own slice of all ranks' data, then all take the slices.
  template <class T>
  void reduce(std::span<T> data) {
    publish(data.data());
    const size_t begin = data.size() * static_cast<size_t>(rank_) / static_cast<size_t>(world_);
    const size_t end = data.size() * static_cast<size_t>(rank_ + 1) / static_cast<size_t>(world_);
    for (size_t i = begin; i < end; ++i) {
      T total{};
      for (void* other : meeting_->data) {
        total += static_cast<T*>(other)[i];
      }
      for (void* other : meeting_->data) {
        static_cast<T*>(other)[i] = total;
      }
    }
    meeting_->wait();
  }

  std::shared_ptr<Meeting> meeting_;
  int rank_, world_;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> thread_communicators(int world) {
  const auto meeting = std::make_shared<Meeting>(world);
  std::vector<std::unique_ptr<Communicator>> all;
  for (int rank = 0; rank < world; ++rank) {
    all.push_back(std::make_unique<Threads>(meeting, rank, world));
  }
  return all;
}

}  // namespace sft
