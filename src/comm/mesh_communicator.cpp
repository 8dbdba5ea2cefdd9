// Collective operations on top of messages between ranks. They are ours and not Gloo's, because
// sums must be taken in rank order.
#include <fmt/format.h>

#include <cstring>

#include "comm/lost_rank.h"
#include "comm/mesh.h"
#include "comm/queued.h"

namespace sft {

namespace {

class MeshCommunicator final : public QueuedCommunicator {
 public:
  MeshCommunicator(const ProcessGroup& group, OpenGloo open)
      : group_(group), open_(open), mesh_(open(group)) {}

  ~MeshCommunicator() override {
    abort(Error(kRankLost, "this rank has ended"));
    stop();
  }

  int rank() const override { return group_.rank; }
  int size() const override { return group_.world; }
  std::string name() const override { return "Gloo"; }

  void abort(const Error& why) override { mesh_->abort(why); }

  std::unique_ptr<Communicator> split(int color) override {
    std::vector<double> colors(static_cast<size_t>(size()));
    colors[static_cast<size_t>(rank())] = color;
    all_reduce(std::span(colors));
    ProcessGroup part = group_;
    part.name = fmt::format("{}/{}.{}", group_.name, splits_++, color);
    part.world = part.rank = 0;
    for (int r = 0; r < size(); ++r) {
      if (colors[static_cast<size_t>(r)] == color) {
        part.rank += r < rank() ? 1 : 0;
        ++part.world;
      }
    }
    if (part.world == 1) {
      return local_communicator();
    }
    auto made = std::make_unique<MeshCommunicator>(part, open_);
    if (control() != nullptr) {
      made->report_to(*control());
    }
    return made;
  }

 private:
  // Bytes that go to each other rank in one exchange.
  static constexpr size_t kPiece = size_t{1} << 20;

  size_t ranks() const { return static_cast<size_t>(group_.world); }
  size_t me() const { return static_cast<size_t>(group_.rank); }

  template <class T>
  void add_up(std::span<T> data) {
    const size_t stride = std::max<size_t>(1, kPiece / sizeof(T)) * ranks();
    for (size_t at = 0; at < data.size(); at += stride) {
      add_up_piece(data.subspan(at, std::min(stride, data.size() - at)));
    }
  }

  template <class T>
  void add_up_piece(std::span<T> data) {
    const auto begin = [&](size_t r) { return data.size() * r / ranks(); };
    const size_t own = begin(me() + 1) - begin(me());
    scratch_.resize(ranks() * own * sizeof(T));
    std::vector<Piece> out(ranks()), in(ranks());
    std::vector<const T*> all(ranks());
    for (size_t r = 0; r < ranks(); ++r) {
      out[r] = {data.data() + begin(r), (begin(r + 1) - begin(r)) * sizeof(T)};
      in[r] = {scratch_.data() + r * own * sizeof(T), own * sizeof(T)};
      all[r] = r == me() ? data.data() + begin(r) : static_cast<const T*>(in[r].data);
    }
    mesh_->exchange(out, in);
    sum_in_order<T>(all, data.data() + begin(me()), static_cast<int64_t>(own), false);
    for (size_t r = 0; r < ranks(); ++r) {
      in[r] = out[r];
      out[r] = {data.data() + begin(me()), own * sizeof(T)};
    }
    mesh_->exchange(out, in);
  }

  void reduce(std::span<float> data) override { add_up(data); }
  void reduce(std::span<double> data) override { add_up(data); }

  void meet() override {
    double nothing = 0;
    add_up(std::span(&nothing, 1));
    std::vector<Piece> out(ranks()), in(ranks());  // rank 0's slice is empty: all must hear of all
    std::vector<std::byte> heard(ranks());
    for (size_t r = 0; r < ranks(); ++r) {
      out[r] = {&heard[me()], 1};
      in[r] = {&heard[r], 1};
    }
    mesh_->exchange(out, in);
  }

  void give(std::span<std::byte> data) override {
    std::vector<Piece> out(ranks()), in(ranks());
    if (group_.rank == 0) {
      out.assign(ranks(), {data.data(), data.size()});
    } else {
      in[0] = {data.data(), data.size()};
    }
    mesh_->exchange(out, in);
  }

  void reduce_scatter(const float* full, float* slice, int64_t n, bool accumulate) override {
    constexpr auto kStep = static_cast<int64_t>(kPiece / sizeof(float));
    auto* const from = const_cast<float*>(full);  // sent only
    const auto step = static_cast<size_t>(std::min(n, kStep));
    scratch_.resize(ranks() * step * sizeof(float));
    std::vector<Piece> out(ranks()), in(ranks());
    std::vector<const float*> all(ranks());
    for (int64_t at = 0; at < n; at += kStep) {
      const int64_t m = std::min(kStep, n - at);
      for (size_t r = 0; r < ranks(); ++r) {
        float* const mine = from + static_cast<int64_t>(r) * n + at;
        out[r] = {mine, static_cast<size_t>(m) * sizeof(float)};
        in[r] = {scratch_.data() + r * step * sizeof(float), out[r].bytes};
        all[r] = r == me() ? mine : static_cast<const float*>(in[r].data);
      }
      mesh_->exchange(out, in);
      sum_in_order<float>(all, slice + at, m, accumulate);
    }
  }

  void all_gather(const std::byte* slice, std::byte* full, size_t bytes) override {
    std::byte* const own = full + me() * bytes;
    if (own != slice) {
      std::memcpy(own, slice, bytes);
    }
    std::vector<Piece> out(ranks(), {own, bytes}), in(ranks());
    for (size_t r = 0; r < ranks(); ++r) {
      in[r] = {full + r * bytes, bytes};
    }
    mesh_->exchange(out, in);
  }

  ProcessGroup group_;
  OpenGloo open_;
  std::vector<std::byte> scratch_;  // what is still on its way may lie in it: it outlives the mesh
  std::unique_ptr<Mesh> mesh_;
  int splits_ = 0;
};

}  // namespace

std::unique_ptr<Communicator> mesh_communicator(const ProcessGroup& group, OpenGloo open) {
  return std::make_unique<MeshCommunicator>(group, open);
}

}  // namespace sft
