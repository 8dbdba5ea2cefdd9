// Replays a planned program on a device.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "graph/block_marks.h"
#include "graph/planner.h"
#include "graph/program.h"
#include "graph/trace.h"

namespace sft {

// What a run stands on, all of it owned by the caller.
struct Bindings {
  std::map<std::string, Tensor> inputs;  // every input of the program, by name
  std::vector<Tensor> parameters;        // by parameter index
  std::vector<Tensor> gradients;         // by parameter index; may be empty for inference
  bool first_micro_batch = true;         // gradients are overwritten, else added to
  BlockWatcher* watcher = nullptr;       // is told of every block_mark; null: nobody is
};

// Memory shared by several programs that never run at the same time; grows to the largest.
class Arena {
 public:
  explicit Arena(Device& device) : device_(device) {}
  std::byte* reserve(int64_t bytes);
  // The same in the host's memory, for what a program offloads.
  std::byte* reserve_host(int64_t bytes);
  int64_t bytes() const { return static_cast<int64_t>(buffer_.size()); }

 private:
  Device& device_;
  Buffer buffer_, host_;
};

class Executor {
 public:
  Executor(Device& device, Arena& arena, Program program);

  // Runs every instruction in order. An Error that rises from a kernel says which instruction,
  // block and shapes it came from. A device that records work does so in the second run with the
  // same memory, and starts the recording from then on.
  void run(const Bindings& bindings);

  // From now on notes each instruction in `trace`, for which they run one by one; null ends it.
  void trace(Trace* trace) { trace_ = trace; }

  // Runs one instruction after the other, each on outputs that were set to zero where it does not
  // add to them, and shows what it wrote, until `look` says no. Slow; for finding faults. With a
  // watcher the run goes on to its end all the same: other ranks wait for this one's part.
  using Look = std::function<bool(const Instruction&, std::span<const Tensor> written)>;
  void run_watched(const Bindings& bindings, const Look& look);

  // The memory of a value after a run: of one that the program keeps, or its last output.
  Tensor tensor(Value v) const;
  const Program& program() const { return program_; }
  const Plan& plan() const { return plan_; }

 private:
  // A run of instructions that is recorded as one piece, or runs step by step because it
  // depends on a shape that the host gives.
  struct Segment {
    size_t begin, end;
    bool stepwise;
    std::unique_ptr<RecordedWork> work{};
  };
  // How the program ran last in each mode: first micro-batch or a later one, watched or not.
  struct Recording {
    std::vector<const void*> memory;  // what it was made on
    std::vector<Segment> segments;
  };

  Tensor resolve(Value v, const Bindings& bindings) const;
  void clear_written(const Instruction& instruction, const Run& r);
  void run_all(const Bindings& bindings);
  void run_instructions(size_t begin, size_t end, const Bindings& bindings);
  // Tells the watcher of the marks before an instruction.
  void tell(const Bindings& bindings, size_t before) const;
  void join(int before);
  std::vector<Segment> segments(bool watched) const;
  std::vector<const void*> memory_of(const Bindings& bindings) const;

  Device& device_;
  Arena& arena_;
  Program program_;
  Plan plan_;
  std::vector<BlockMark> marks_;
  std::byte* base_ = nullptr;
  std::byte* host_base_ = nullptr;
  Trace* trace_ = nullptr;
  const Look* look_ = nullptr;  // while run_watched runs
  // What runs aside now: before which instruction it has to be done, and the device's number.
  struct Pending {
    int join, ticket;
    Lane lane;
  };
  std::vector<Pending> pending_;
  Recording recordings_[4];
};

}  // namespace sft
