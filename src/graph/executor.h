// Replays a planned program on a device.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "graph/planner.h"
#include "graph/program.h"

namespace sft {

// What a run stands on, all of it owned by the caller.
struct Bindings {
  std::map<std::string, Tensor> inputs;  // every input of the program, by name
  std::vector<Tensor> parameters;        // by parameter index
  std::vector<Tensor> gradients;         // by parameter index; may be empty for inference
  bool first_micro_batch = true;         // gradients are overwritten, else added to
};

// Memory shared by several programs that never run at the same time; grows to the largest.
class Arena {
 public:
  explicit Arena(Device& device) : device_(device) {}
  std::byte* reserve(int64_t bytes);
  int64_t bytes() const { return static_cast<int64_t>(buffer_.size()); }

 private:
  Device& device_;
  Buffer buffer_;
};

class Executor {
 public:
  Executor(Device& device, Arena& arena, Program program);

  // Runs every instruction in order. An Error that rises from a kernel says which instruction,
  // block and shapes it came from.
  void run(const Bindings& bindings);

  // From now on adds each instruction's seconds to `by_op`, by its name; null ends it.
  void profile(std::map<std::string, double>* by_op) { profile_ = by_op; }

  // The memory of a value after a run: of one that the program keeps, or its last output.
  Tensor tensor(Value v) const;
  const Program& program() const { return program_; }
  const Plan& plan() const { return plan_; }

 private:
  Tensor resolve(Value v, const Bindings& bindings) const;

  Device& device_;
  Arena& arena_;
  Program program_;
  Plan plan_;
  std::byte* base_ = nullptr;
  std::map<std::string, double>* profile_ = nullptr;
};

}  // namespace sft
