// Collective operations between the ranks of a run. Used at world size 1 too, where they do
// nothing, so that the trainer has one path.
//
// Every rank calls the same operations in the same order. Sums are taken in rank order wherever the
// ranks compute on CPUs, so every implementation gives the same bits on every rank. After an error
// (N001, N040) a communicator is of no more use: each later call throws the same.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "control/rank_control.h"
#include "control/store.h"
#include "core/error.h"
#include "device/device.h"

namespace sft {

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // What moves the large things, for people: "NCCL 2.28.9".
  virtual std::string name() const = 0;

  // --- small things, in the host's memory; done when the call returns ---------------------------
  virtual void all_reduce(std::span<float> data) = 0;
  virtual void all_reduce(std::span<double> data) = 0;
  // Rank 0's data for everybody.
  virtual void broadcast(std::span<std::byte> data) = 0;
  virtual void barrier() = 0;

  double sum(double value) {
    all_reduce(std::span(&value, 1));
    return value;
  }

  // --- what ZeRO moves, in the memory of the rank's device --------------------------------------
  // Begun after what the device was given before, and done beside what it is given next, until
  // `wait`: the memory belongs to the operation until then.
  using Ticket = uint64_t;
  // `full` has size() * n elements; `slice` gets the sum over ranks of this rank's n of them, or
  // has it added when `accumulate`. It may be that place inside `full` itself.
  virtual Ticket begin_reduce_scatter(const float* full, float* slice, int64_t n,
                                      bool accumulate) = 0;
  // `full` gets every rank's `bytes`, in rank order. `slice` may be this rank's place inside.
  virtual Ticket begin_all_gather(const void* slice, void* full, size_t bytes) = 0;
  // In place, n elements.
  virtual Ticket begin_all_reduce(float* data, int64_t n) = 0;
  // What the device is given from now on comes after it; on a CPU returns when it is done. Also
  // waits for everything begun before it.
  virtual void wait(Ticket ticket) = 0;

  // The communicator of the ranks that give the same colour, in the order of their ranks.
  virtual std::unique_ptr<Communicator> split(int color) = 0;
  // Makes every call that waits, now or later, throw `why`. From any thread.
  virtual void abort(const Error& why) = 0;

  // From now on `control`, which outlives this, is told what is at work; of what split() makes,
  // too. Call it before the first operation.
  virtual void report_to(RankControl& control) {
    control_ = &control;
    lane_ = control.size() > 1 ? &control.open_lane() : nullptr;
  }
  // See RankControl::progress.
  void progress(int64_t step) {
    if (control_ != nullptr) {
      control_->progress(step);
    }
  }

 protected:
  RankControl* control() const { return control_; }
  OperationLane* lane() const { return lane_; }  // null: nobody wants to know

 private:
  RankControl* control_ = nullptr;
  std::atomic<OperationLane*> lane_ = nullptr;
};

// The only rank there is.
std::unique_ptr<Communicator> local_communicator();

// `world` ranks that are threads of this process, one communicator for each. When a rank fails it
// destroys its communicator, and the others' next call throws N001 instead of waiting for ever.
std::vector<std::unique_ptr<Communicator>> thread_communicators(int world);

// Ranks that are processes, on one machine or several.
struct ProcessGroup {
  int rank = 0, world = 1;
  Store* store = nullptr;      // where the ranks find each other; needed while connecting
  std::string name = "world";  // keys in the store begin with it: one for each communicator
  std::string address;         // of this host, as the others reach it
  std::string interface;       // or the name of the network interface
  std::chrono::milliseconds timeout{1'800'000};  // of one operation
};
// Whether this program was built with Gloo.
bool gloo_built();
// TCP between processes that compute on CPUs. N041 when the ranks do not find each other, C140 when
// libsft_gloo.so is missing. A rank that ends breaks the others' calls with N040 at once.
std::unique_ptr<Communicator> gloo_communicator(const ProcessGroup& group);
// NCCL between GPUs; libnccl.so.2 is loaded now. G025 when it is missing, G023 when it fails, N041
// as above.
std::unique_ptr<Communicator> nccl_communicator(Device& device, const ProcessGroup& group);

// The same between GPUs, but what is large goes through copy engines instead of kernels. `rest`
// itself where a rank cannot reach another's memory, on another machine for instance.
std::unique_ptr<Communicator> copying_communicator(Device& device,
                                                   std::unique_ptr<Communicator> rest);

// What a communicator between GPUs takes of a device's memory, about: NCCL's channels, and slots
// for what copy engines move.
constexpr size_t kCommunicatorBytes = size_t{512} << 20;

}  // namespace sft
