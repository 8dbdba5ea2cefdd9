// Collective operations between the ranks of a run. Used at world size 1 too, where they do
// nothing, so that the trainer has one path.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace sft {

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // The sum over ranks, in rank order, so that every rank gets the same bits.
  virtual void all_reduce(std::span<float> data) = 0;
  virtual void all_reduce(std::span<double> data) = 0;
  // Rank 0's data for everybody.
  virtual void broadcast(std::span<std::byte> data) = 0;
  virtual void barrier() = 0;

  double sum(double value) {
    all_reduce(std::span(&value, 1));
    return value;
  }
};

// The only rank there is.
std::unique_ptr<Communicator> local_communicator();

// `world` ranks that are threads of this process, one communicator for each. When a rank fails it
// destroys its communicator, and the others' next call throws N001 instead of waiting for ever.
std::vector<std::unique_ptr<Communicator>> thread_communicators(int world);

}  // namespace sft
