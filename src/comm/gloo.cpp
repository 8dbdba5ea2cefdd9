// Ranks as processes, over Gloo's TCP transport: who is connected to whom, and messages that are
// matched by number. The collectives are ours, on top of sends and receives, because sums must be
// taken in rank order. An operation that fails leaves Gloo's connections unusable, so the
// communicator stays failed; a new one has connections of its own.
#include <fmt/format.h>

#include "comm/communicator.h"

#ifdef SFT_GLOO

#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/store.h>
#include <gloo/transport/tcp/device.h>
#include <gloo/transport/unbound_buffer.h>

#include <csignal>
#include <cstring>
#include <optional>
#include <system_error>

#include "comm/lost_rank.h"
#include "comm/queued.h"
#include "core/threads.h"

namespace sft {

namespace {

using Milliseconds = std::chrono::milliseconds;

class GlooStore final : public gloo::rendezvous::Store {
 public:
  GlooStore(sft::Store& store, std::string prefix, Milliseconds timeout)
      : store_(store), prefix_(std::move(prefix)), timeout_(timeout) {}

  void set(const std::string& key, const std::vector<char>& data) override {
    store_.set(prefix_ + key, {data.data(), data.size()});
  }
  std::vector<char> get(const std::string& key) override {
    const std::string value = store_.get(prefix_ + key, timeout_);
    return {value.begin(), value.end()};
  }
  void wait(const std::vector<std::string>& keys) override { wait(keys, timeout_); }
  void wait(const std::vector<std::string>& keys, const Milliseconds& timeout) override {
    for (const std::string& key : keys) {
      store_.get(prefix_ + key, std::max(timeout, timeout_));
    }
  }

 private:
  sft::Store& store_;
  std::string prefix_;
  Milliseconds timeout_;
};

// A stretch of memory that goes to, or comes from, another rank.
struct Piece {
  void* data = nullptr;
  size_t bytes = 0;
};

class Gloo final : public QueuedCommunicator {
 public:
  explicit Gloo(const ProcessGroup& group)
      : group_(group),
        context_(std::make_shared<gloo::rendezvous::Context>(group.rank, group.world)) {
    gloo::transport::tcp::attr where;
    where.hostname = group.address;
    where.iface = group.interface;
    try {
      auto device = gloo::transport::tcp::CreateDevice(where);
      context_->setTimeout(group.timeout);
      GlooStore store(*group.store, group.name + "/", group.timeout);
      context_->connectFullMesh(store, device);
    } catch (const std::exception& e) {
      const auto* system = dynamic_cast<const std::system_error*>(&e);
      if (system != nullptr && system->code() == std::errc::resource_unavailable_try_again) {
        thread_refused("connections between ranks");
      }
      throw Error("N041",
                  fmt::format("rank {} cannot connect to the others from {}: {}", group.rank,
                              group.interface.empty() ? group.address : group.interface, reason(e)))
          .hint(
              "name the network with  GLOO_SOCKET_IFNAME=eth0  and see that the hosts reach "
              "each other");
    }
  }

  ~Gloo() override {
    abort(Error(kRankLost, "this rank has ended"));
    stop();
    context_->closeConnections();
  }

  int rank() const override { return group_.rank; }
  int size() const override { return group_.world; }
  std::string name() const override { return "Gloo"; }

  void abort(const Error& why) override {
    const std::lock_guard lock(mutex_);
    if (!aborted_) {
      aborted_ = why;
      for (const auto& buffer : pending_) {
        buffer->abortWaitRecv();
        buffer->abortWaitSend();
      }
    }
  }

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
    auto made = std::make_unique<Gloo>(part);
    if (control() != nullptr) {
      made->report_to(*control());
    }
    return made;
  }

 private:
  // Bytes that go to each other rank in one exchange.
  static constexpr size_t kPiece = size_t{1} << 20;

  static std::string reason(const std::exception& e) {
    if (const auto* error = dynamic_cast<const Error*>(&e)) {
      return error->message();
    }
    std::string text = e.what();  // "[/path/pair.cc:123] what happened"
    if (const size_t end = text.find("] "); text.starts_with('[') && end != std::string::npos) {
      text = text.substr(end + 2);
    }
    return text;
  }

  size_t ranks() const { return static_cast<size_t>(group_.world); }
  size_t me() const { return static_cast<size_t>(group_.rank); }

  // Sends out[r] to rank r and receives in[r] from it, for all others; empty pieces are left out on
  // both sides.
  void exchange(const std::vector<Piece>& out, const std::vector<Piece>& in) {
    if (group_.world == 1) {
      return;
    }
    const uint64_t slot = next_slot_++;
    std::vector<gloo::transport::UnboundBuffer*> receiving(ranks()), sending(ranks());
    size_t other = me();
    try {
      for (size_t i = 1; i < ranks(); ++i) {
        other = (me() + i) % ranks();
        if (in[other].bytes > 0) {
          receiving[other] = pend(in[other]);
          receiving[other]->recv(static_cast<int>(other), slot);
        }
      }
      for (size_t i = 1; i < ranks(); ++i) {
        other = (me() + i) % ranks();
        if (out[other].bytes > 0) {
          sending[other] = pend(out[other]);
          sending[other]->send(static_cast<int>(other), slot);
        }
      }
      for (size_t i = 1; i < ranks(); ++i) {
        other = (me() + i) % ranks();
        if ((receiving[other] != nullptr && !receiving[other]->waitRecv(group_.timeout)) ||
            (sending[other] != nullptr && !sending[other]->waitSend(group_.timeout))) {
          throw std::runtime_error("broken off");
        }
      }
    } catch (const std::exception& e) {
      const Error lost =
          Error(kRankLost,
                fmt::format("rank {} has lost rank {}: {}", group_.rank, other, reason(e)))
              .hint("that rank's own error, if it could still say one, is the cause");
      const std::lock_guard lock(mutex_);
      pending_.clear();
      aborted_ = aborted_.value_or(lost);
      throw *aborted_;
    }
    const std::lock_guard lock(mutex_);
    pending_.clear();
  }

  // A buffer whose waits `abort` can end.
  gloo::transport::UnboundBuffer* pend(const Piece& piece) {
    auto buffer = context_->createUnboundBuffer(piece.data, piece.bytes);
    const std::lock_guard lock(mutex_);
    if (aborted_) {
      throw *aborted_;
    }
    pending_.push_back(std::move(buffer));
    return pending_.back().get();
  }

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
    exchange(out, in);
    sum_in_order<T>(all, data.data() + begin(me()), static_cast<int64_t>(own), false);
    for (size_t r = 0; r < ranks(); ++r) {
      in[r] = out[r];
      out[r] = {data.data() + begin(me()), own * sizeof(T)};
    }
    exchange(out, in);
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
    exchange(out, in);
  }

  void give(std::span<std::byte> data) override {
    std::vector<Piece> out(ranks()), in(ranks());
    if (group_.rank == 0) {
      out.assign(ranks(), {data.data(), data.size()});
    } else {
      in[0] = {data.data(), data.size()};
    }
    exchange(out, in);
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
      exchange(out, in);
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
    exchange(out, in);
  }

  ProcessGroup group_;
  std::shared_ptr<gloo::rendezvous::Context> context_;
  uint64_t next_slot_ = 1;
  std::vector<std::byte> scratch_;
  std::mutex mutex_;
  std::optional<Error> aborted_;  // what every call throws from now on
  std::vector<std::unique_ptr<gloo::transport::UnboundBuffer>> pending_;
  int splits_ = 0;
};

}  // namespace

bool gloo_built() { return true; }

std::unique_ptr<Communicator> gloo_communicator(const ProcessGroup& group) {
  // Writing to a connection whose other end has gone must be an error, not the end of the process.
  struct sigaction now{};
  if (::sigaction(SIGPIPE, nullptr, &now) == 0 && now.sa_handler == SIG_DFL) {
    ::signal(SIGPIPE, SIG_IGN);
  }
  return std::make_unique<Gloo>(group);
}

}  // namespace sft

#else

namespace sft {

bool gloo_built() { return false; }

std::unique_ptr<Communicator> gloo_communicator(const ProcessGroup&) {
  throw Error("C140", "this program was built without Gloo, which ranks on CPUs need")
      .hint("install libgloo-dev and build again");
}

}  // namespace sft

#endif
