// The static tape: a program is recorded once by model code through the ops, differentiated, its
// memory planned, and replayed for each micro-batch (graph/executor.h).
//
// An op (src/ops) makes its outputs with `make`, emits an instruction with a kernel, and leaves a
// closure that emits its backward instructions. A kernel finds its operands by position, never by
// captured value, so that recomputation can replay it on other memory.
#pragma once

#include <deque>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"
#include "device/device.h"

namespace sft {

// A tensor of the program: a handle without memory.
struct Value {
  int id = -1;
  explicit operator bool() const { return id >= 0; }
  bool operator==(const Value&) const = default;
};

// An operand that an instruction writes.
struct Output {
  enum class Mode {
    overwrite,
    add,              // adds to what an earlier instruction wrote
    add_after_first,  // a parameter's gradient: overwritten by the first micro-batch of a step
  };
  Value value;
  Mode mode = Mode::overwrite;
  Output() = default;
  Output(Value v, Mode m = Mode::overwrite) : value(v), mode(m) {}  // NOLINT: implicit on purpose
};

// What a kernel sees while it runs.
class Run {
 public:
  const Tensor& in(int i) const { return in_[static_cast<size_t>(i)]; }
  Tensor& out(int i) const { return out_[static_cast<size_t>(i)]; }
  // in(i) of what lies outside the program and is kept from run to run: a kernel may add to it.
  Tensor& kept(int i) const { return in_[static_cast<size_t>(i)]; }
  // False when the output is not wanted (an operand that needs no gradient).
  bool wants(int i) const { return out(i).data != nullptr; }
  // True when out(i) is to be added to.
  bool accumulate(int i) const { return accumulate_[static_cast<size_t>(i)]; }
  Device& device() const { return *device_; }
  ThreadPool& threads() const { return device_->threads(); }

 private:
  friend class Executor;
  std::span<Tensor> in_, out_;
  std::vector<bool> accumulate_;
  Device* device_ = nullptr;
};

using Kernel = std::function<void(const Run&)>;

// What of a block is computed again for its backward pass instead of being kept, from the cheapest
// policy to the one that keeps least: nothing; what one pass over memory makes (norms, gated
// activations); the MLP's wide half as well; everything but the block's input.
enum class Recompute { none, norms, mlp, block };

// How a program saves memory. Recomputing and offloading change no bit of the result.
struct MemoryPolicy {
  Recompute recompute = Recompute::none;
  bool offload = false;  // what is kept for the backward pass waits in the host's memory
  // Tokens whose MLP is computed at a time (ops/tiled_mlp.h), where only adapters are trained; 0:
  // all. Their gradients then add up tile by tile.
  int64_t mlp_tile = 0;
  MemoryPolicy() = default;
  MemoryPolicy(Recompute r, bool o = false) : recompute(r), offload(o) {}  // NOLINT: implicit
  bool operator==(const MemoryPolicy&) const = default;
};
// "none", "norms", "mlp", "block".
const char* name_of(Recompute recompute);

struct Instruction {
  std::string name;
  int block = -1;  // -1 outside every block
  std::vector<Value> in;
  std::vector<Output> out;
  Kernel kernel;
  int reuse_in = -1;        // out[0] may take the memory of this input, when nobody reads it later
  bool recomputed = false;  // a second copy, made for the backward pass
  Lane lane = Lane::main;   // see Program::run_aside
  // What it takes to be computed again: see Program::recompute_from and the two after it.
  Recompute recompute_from = Recompute::block;
  bool recompute_with_input = false;
  int shortcut = -1;

  bool aside() const { return lane != Lane::main; }
};

struct ValueInfo {
  enum class Kind { arena, input, parameter, parameter_grad, host, group };
  Kind kind = Kind::arena;
  std::string name;
  Shape shape;
  DType dtype = DType::f32;
  int index = -1;              // of the input, or of the parameter
  int block = -1;              // in which it was made
  int bucket = 0;              // of a parameter and its gradient: ParamSpec::block
  bool grad = false;           // a gradient flows to it
  bool kept = false;           // read from outside after the run
  bool wide_grad = false;      // its gradient is added up in float32, as a parameter's is
  bool sized_by_host = false;  // an input whose bound shape, not its data, says how much there is
  std::vector<Value> parts{};  // of a group
};

class Program {
 public:
  enum class Purpose { training, inference };
  Program(Purpose purpose, MemoryPolicy memory, Target target = {})
      : purpose_(purpose), memory_(memory), target_(target) {}

  // --- recording -------------------------------------------------------------------------------
  // External memory, bound by name before a run; at most `shape` large. With `sized_by_host` the
  // kernels that read it look at the bound shape, so they are never part of recorded device work.
  Value input(std::string name, Shape shape, DType dtype, bool sized_by_host = false);
  // Parameter `index` of the model, of its block `bucket`; a gradient is kept for it when it is
  // trained.
  Value parameter(int index, std::string name, Shape shape, DType dtype, bool trained,
                  int bucket = 0);
  // Frozen parameters, whose rows follow each other, as one: a name for them that has no memory. An
  // instruction reads its parts.
  Value group(std::string name, std::vector<Value> parts);
  // Those of a group; of any other value itself.
  std::vector<Value> parts(Value v) const;
  Value make(std::string name, Shape shape, DType dtype = DType::f32);
  // An activation: of the target's compute type.
  Value activation(std::string name, Shape shape) {
    return make(std::move(name), shape, target_.compute);
  }
  Value like(Value v, std::string name);
  // Says that v's gradient is in float32 whatever v is in: of a table that stands for a parameter.
  void widen_grad(Value v) { values_[static_cast<size_t>(v.id)].wide_grad = true; }

  // `reuse_in`: see Instruction. Outputs get a gradient when any of `in` does.
  void emit(std::string name, std::vector<Value> in, std::vector<Output> out, Kernel kernel,
            int reuse_in = -1);
  // Says that what was emitted last writes parameter gradients only, so that it may run beside the
  // instructions that follow: see join_points in graph/planner.h.
  void run_aside();
  void on_backward(std::function<void(Program&)> backward);

  // --- what is cheap to compute again (a block's instructions are, from Recompute::block on) -----
  // The instructions from number `first` on are from this policy on.
  void recompute_from(Recompute policy, size_t first);
  // The instruction emitted last is.
  void recompute_from(Recompute policy) { recompute_from(policy, instructions_.size() - 1); }
  // The instruction emitted last is wherever its first input is: keeping one of the two is enough.
  void recompute_with_input() { instructions_.back().recompute_with_input = true; }
  // Another way to the same bits of `out`, outputs of the instruction emitted last: from what is
  // kept anyway. It serves from Recompute::norms on, until the instruction itself is repeated.
  void recompute_by(std::string name, std::vector<Value> in, std::vector<Value> out, Kernel kernel);

  // Says that the caller reads v after the run: nothing else may take its memory.
  void keep(Value v);

  void begin_block(int index) { block_ = index; }
  void end_block() { block_ = -1; }

  bool training() const { return purpose_ == Purpose::training; }
  const Target& target() const { return target_; }
  const MemoryPolicy& memory() const { return memory_; }
  const Shape& shape(Value v) const { return info(v).shape; }
  const ValueInfo& info(Value v) const { return values_[static_cast<size_t>(v.id)]; }

  // --- differentiating -------------------------------------------------------------------------
  // Walks the tape backwards. Gradients start where an op has called `grad_out` while recording
  // (the loss computes its own).
  void differentiate();

  bool needs_grad(Value v) const { return training() && info(v).grad; }
  bool has_grad(Value v) const { return static_cast<bool>(grad(v)); }
  // The gradient as it stands; a null value when nothing has been written to it.
  Value grad(Value v) const;
  // Where to write a contribution to v's gradient; a null output when v needs none.
  Output grad_out(Value v);
  // Says that v's gradient is now `g`, which an instruction made out of what it was before.
  void replace_grad(Value v, Value g);
  // Says that v's gradient (so far) is `g` itself, without a copy. g's memory may then serve
  // several values: it is never written again.
  void share_grad(Value v, Value g);

  const std::vector<Instruction>& instructions() const { return instructions_; }
  const std::deque<ValueInfo>& values() const { return values_; }

 private:
  struct TapeEntry {
    int block;
    std::function<void(Program&)> backward;
  };
  struct Gradient {
    Value value;
    bool shared = false;
  };

  Value add_value(ValueInfo info);
  Value mapped(Value v) const;
  void replay_block(int block, size_t forward_end);
  void replay(Instruction copy);
  bool starts_block(const Instruction& instruction) const;
  void zero_unwritten_gradients();
  void drop_unread_recomputation();
  void offload(size_t forward_end);  // offload.cpp

  Purpose purpose_;
  MemoryPolicy memory_;
  Target target_;
  int block_ = -1;
  bool differentiating_ = false;
  std::deque<ValueInfo> values_;  // they stay where they are: shape() and info() refer to them
  std::vector<Instruction> instructions_;
  std::vector<Instruction> shortcuts_;  // see recompute_by
  std::vector<TapeEntry> tape_;
  std::vector<Gradient> gradients_;  // by value
  std::vector<Value> replayed_;      // by value: its second copy in the block being differentiated
  int inputs_ = 0;
};

}  // namespace sft
