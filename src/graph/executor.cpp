#include "graph/executor.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "core/error.h"

namespace sft {

std::byte* Arena::reserve(int64_t bytes) {
  if (bytes > this->bytes()) {
    buffer_ = Buffer();  // give the old one back first
    buffer_ = device_.allocate(static_cast<size_t>(bytes));
  }
  return buffer_.data();
}

Executor::Executor(Device& device, Arena& arena, Program program)
    : device_(device), arena_(arena), program_(std::move(program)), plan_(plan_memory(program_)) {}

Tensor Executor::resolve(Value v, const Bindings& bindings) const {
  if (!v) {
    return {};
  }
  const ValueInfo& info = program_.info(v);
  const auto index = static_cast<size_t>(info.index);
  switch (info.kind) {
    case ValueInfo::Kind::arena:
      return tensor(v);
    case ValueInfo::Kind::parameter:
      return bindings.parameters.at(index);
    case ValueInfo::Kind::parameter_grad:
      return bindings.gradients.at(index);
    case ValueInfo::Kind::input:
      break;
  }
  const auto found = bindings.inputs.find(info.name);
  if (found == bindings.inputs.end()) {
    throw Error("X002", fmt::format("internal error: input {} is not bound", info.name));
  }
  const Tensor& bound = found->second;
  if (bound.dtype != info.dtype || bound.shape.elements() > info.shape.elements()) {
    throw Error("X003",
                fmt::format("internal error: input {} is bound to {} of {}, recorded as {} of {}",
                            info.name, bound.shape.text(), name_of(bound.dtype), info.shape.text(),
                            name_of(info.dtype)));
  }
  return bound;
}

Tensor Executor::tensor(Value v) const {
  const ValueInfo& info = program_.info(v);
  const int64_t offset = plan_.offsets[static_cast<size_t>(v.id)];
  return {offset < 0 ? nullptr : base_ + offset, info.shape, info.dtype};
}

void Executor::run(const Bindings& bindings) {
  base_ = arena_.reserve(plan_.bytes);
  Run r;
  r.device_ = &device_;
  for (const Instruction& instruction : program_.instructions()) {
    r.in_.clear();
    r.out_.clear();
    r.accumulate_.clear();
    for (const Value v : instruction.in) {
      r.in_.push_back(resolve(v, bindings));
    }
    for (const Output& o : instruction.out) {
      r.out_.push_back(resolve(o.value, bindings));
      r.accumulate_.push_back(
          o.mode == Output::Mode::add ||
          (o.mode == Output::Mode::add_after_first && !bindings.first_micro_batch));
    }
    const auto start = std::chrono::steady_clock::now();
    try {
      instruction.kernel(r);
    } catch (Error& e) {
      std::string shapes;
      for (const Tensor& t : r.in_) {
        shapes += t.shape.text();
      }
      throw e.context(
          fmt::format("in {} (block {}) of {}", instruction.name, instruction.block, shapes));
    }
    if (profile_ != nullptr) {
      (*profile_)[instruction.name] +=
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
  }
}

}  // namespace sft
