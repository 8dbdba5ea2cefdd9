// libsft_gloo.so: connections over Gloo's TCP transport, with messages that are matched by number.
// Loaded by gloo_library.cpp through the one function at the end. An operation that fails leaves
// Gloo's connections unusable, so the mesh stays failed; a new one has connections of its own.
#include <fmt/format.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/store.h>
#include <gloo/transport/tcp/device.h>
#include <gloo/transport/unbound_buffer.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "comm/lost_rank.h"
#include "comm/mesh.h"
#include "core/threads.h"

namespace sft {

namespace {

using Milliseconds = std::chrono::milliseconds;
using gloo::transport::UnboundBuffer;

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

std::string reason(const std::exception& e) {
  if (const auto* error = dynamic_cast<const Error*>(&e)) {
    return error->message();
  }
  std::string text = e.what();  // "[/path/pair.cc:123] what happened"
  if (const size_t end = text.find("] "); text.starts_with('[') && end != std::string::npos) {
    text = text.substr(end + 2);
  }
  return text;
}

class GlooMesh final : public Mesh {
 public:
  explicit GlooMesh(const ProcessGroup& group)
      : rank_(static_cast<size_t>(group.rank)),
        ranks_(static_cast<size_t>(group.world)),
        timeout_(group.timeout),
        context_(std::make_shared<gloo::rendezvous::Context>(group.rank, group.world)) {
    gloo::transport::tcp::attr where;
    where.hostname = group.address;
    where.iface = group.interface;
    try {
      auto device = gloo::transport::tcp::CreateDevice(where);
      context_->setTimeout(timeout_);
      GlooStore store(*group.store, group.name + "/", timeout_);
      context_->connectFullMesh(store, device);
    } catch (const std::exception& e) {
      const auto* system = dynamic_cast<const std::system_error*>(&e);
      if (system != nullptr && system->code() == std::errc::resource_unavailable_try_again) {
        thread_refused("connections between ranks");
      }
      throw Error("N041",
                  fmt::format("rank {} cannot connect to the others from {}: {}", rank_,
                              group.interface.empty() ? group.address : group.interface, reason(e)))
          .hint(
              "name the network with  GLOO_SOCKET_IFNAME=eth0  and see that the hosts reach "
              "each other");
    }
  }

  ~GlooMesh() override { context_->closeConnections(); }

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

  void exchange(std::span<const Piece> out, std::span<const Piece> in) override {
    const uint64_t slot = next_slot_++;
    std::vector<UnboundBuffer*> receiving(ranks_), sending(ranks_);
    size_t other = rank_;
    try {
      for (size_t i = 1; i < ranks_; ++i) {
        other = (rank_ + i) % ranks_;
        if (in[other].bytes > 0) {
          receiving[other] = pend(in[other]);
          receiving[other]->recv(static_cast<int>(other), slot);
        }
      }
      for (size_t i = 1; i < ranks_; ++i) {
        other = (rank_ + i) % ranks_;
        if (out[other].bytes > 0) {
          sending[other] = pend(out[other]);
          sending[other]->send(static_cast<int>(other), slot);
        }
      }
      for (size_t i = 1; i < ranks_; ++i) {
        other = (rank_ + i) % ranks_;
        if ((receiving[other] != nullptr && !receiving[other]->waitRecv(timeout_)) ||
            (sending[other] != nullptr && !sending[other]->waitSend(timeout_))) {
          throw std::runtime_error("broken off");
        }
      }
    } catch (const std::exception& e) {
      const Error lost =
          Error(kRankLost, fmt::format("rank {} has lost rank {}: {}", rank_, other, reason(e)))
              .hint("that rank's own error, if it could still say one, is the cause");
      const std::lock_guard lock(mutex_);
      pending_.clear();
      aborted_ = aborted_.value_or(lost);
      throw *aborted_;
    }
    const std::lock_guard lock(mutex_);
    pending_.clear();
  }

 private:
  // A buffer whose waits `abort` can end.
  UnboundBuffer* pend(const Piece& piece) {
    auto buffer = context_->createUnboundBuffer(piece.data, piece.bytes);
    const std::lock_guard lock(mutex_);
    if (aborted_) {
      throw *aborted_;
    }
    pending_.push_back(std::move(buffer));
    return pending_.back().get();
  }

  const size_t rank_, ranks_;
  const Milliseconds timeout_;
  std::shared_ptr<gloo::rendezvous::Context> context_;
  uint64_t next_slot_ = 1;
  std::mutex mutex_;
  std::optional<Error> aborted_;  // what every call throws from now on
  std::vector<std::unique_ptr<UnboundBuffer>> pending_;
};

}  // namespace

}  // namespace sft

extern "C" __attribute__((visibility("default"))) sft::Mesh* sft_open_gloo(
    const sft::ProcessGroup& group) {
  return new sft::GlooMesh(group);
}
