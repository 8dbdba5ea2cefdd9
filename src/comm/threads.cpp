#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>

#include "comm/lost_rank.h"
#include "comm/queued.h"

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
      throw *broken;
    }
  }

  void leave(const Error& why) {
    const std::lock_guard lock(mutex);
    if (!broken) {
      broken = why;
    }
    met.notify_all();
  }

  // The meeting of those who come with the same colour to the same split.
  std::shared_ptr<Meeting> part(int split, int color, int world) {
    const std::lock_guard lock(mutex);
    auto& found = parts[{split, color}];
    if (!found) {
      found = std::make_shared<Meeting>(world);
    }
    return found;
  }

  std::mutex mutex;
  std::condition_variable met;
  size_t arrived = 0;
  uint64_t round = 0;
  std::optional<Error> broken;
  std::vector<const void*> data;
  std::map<std::pair<int, int>, std::shared_ptr<Meeting>> parts;
};

class Threads final : public QueuedCommunicator {
 public:
  Threads(std::shared_ptr<Meeting> meeting, int rank, int world)
      : meeting_(std::move(meeting)), rank_(rank), world_(world) {}
  ~Threads() override {
    meeting_->leave(
        Error(kRankEnded, "another rank of this run has ended").hint("see its error above"));
    stop();
  }

  int rank() const override { return rank_; }
  int size() const override { return world_; }
  std::string name() const override { return "memory"; }
  void abort(const Error& why) override { meeting_->leave(why); }

  std::unique_ptr<Communicator> split(int color) override {
    std::unique_ptr<Communicator> made;
    now("split", 0, [&] {
      publish(&color);
      int members = 0, place = 0;
      for (int r = 0; r < world_; ++r) {
        if (*static_cast<const int*>(meeting_->data[static_cast<size_t>(r)]) == color) {
          place = r == rank_ ? members : place;
          ++members;
        }
      }
      made = std::make_unique<Threads>(meeting_->part(splits_++, color, members), place, members);
      if (control() != nullptr) {
        made->report_to(*control());
      }
      meeting_->wait();
    });
    return made;
  }

 private:
  void publish(const void* data) {
    meeting_->data[static_cast<size_t>(rank_)] = data;
    meeting_->wait();
  }
  template <class T>
  std::vector<const T*> all_at(int64_t offset) const {
    std::vector<const T*> at;
    for (const void* data : meeting_->data) {
      at.push_back(static_cast<const T*>(data) + offset);
    }
    return at;
  }

  // Each rank adds up its own slice of all ranks' data, then all take the slices.
  template <class T>
  void add_up(std::span<T> data) {
    publish(data.data());
    const size_t world = meeting_->data.size();
    const size_t begin = data.size() * static_cast<size_t>(rank_) / world;
    const size_t end = data.size() * static_cast<size_t>(rank_ + 1) / world;
    const std::vector<const T*> all = all_at<T>(static_cast<int64_t>(begin));
    sum_in_order<T>(all, data.data() + begin, static_cast<int64_t>(end - begin), false);
    meeting_->wait();
    for (size_t r = 0; r < world; ++r) {
      if (static_cast<int>(r) != rank_) {
        const size_t from = data.size() * r / world;
        std::memcpy(data.data() + from, static_cast<const T*>(meeting_->data[r]) + from,
                    (data.size() * (r + 1) / world - from) * sizeof(T));
      }
    }
    meeting_->wait();
  }

  void reduce(std::span<float> data) override { add_up(data); }
  void reduce(std::span<double> data) override { add_up(data); }
  void meet() override { meeting_->wait(); }

  void give(std::span<std::byte> data) override {
    publish(data.data());
    if (rank_ != 0 && !data.empty()) {
      std::memcpy(data.data(), meeting_->data[0], data.size());
    }
    meeting_->wait();
  }

  void reduce_scatter(const float* full, float* slice, int64_t n, bool accumulate) override {
    publish(full);
    sum_in_order<float>(all_at<float>(rank_ * n), slice, n, accumulate);
    meeting_->wait();
  }

  void all_gather(const std::byte* slice, std::byte* full, size_t bytes) override {
    publish(slice);
    for (size_t r = 0; r < meeting_->data.size(); ++r) {
      if (full + r * bytes != meeting_->data[r]) {
        std::memcpy(full + r * bytes, meeting_->data[r], bytes);
      }
    }
    meeting_->wait();
  }

  std::shared_ptr<Meeting> meeting_;
  int rank_, world_;
  int splits_ = 0;
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
