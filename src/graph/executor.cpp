#include "graph/executor.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "core/error.h"

namespace sft {

std::byte* Arena::reserve(int64_t bytes) {
  if (bytes > this->bytes()) {
    buffer_ = Buffer();  // give the old one back first
    buffer_ = device_.allocate(static_cast<size_t>(bytes));
  }
  return buffer_.data();
}

std::byte* Arena::reserve_host(int64_t bytes) {
  if (bytes > static_cast<int64_t>(host_.size())) {
    host_ = Buffer();
    host_ = device_.allocate_host(static_cast<size_t>(bytes));
  }
  return host_.data();
}

Executor::Executor(Device& device, Arena& arena, Program program)
    : device_(device),
      arena_(arena),
      program_(std::move(program)),
      plan_(plan_memory(program_)),
      marks_(block_marks(program_)) {}

Tensor Executor::resolve(Value v, const Bindings& bindings) const {
  if (!v) {
    return {};
  }
  const ValueInfo& info = program_.info(v);
  const auto index = static_cast<size_t>(info.index);
  switch (info.kind) {
    case ValueInfo::Kind::arena:
    case ValueInfo::Kind::host:
      return tensor(v);
    case ValueInfo::Kind::parameter:
      return bindings.parameters.at(index);
    case ValueInfo::Kind::parameter_grad:
      return bindings.gradients.at(index);
    case ValueInfo::Kind::group:
      SFT_ASSERT(info.kind != ValueInfo::Kind::group);  // it is read by its parts
      break;
    case ValueInfo::Kind::input:
      break;
  }
  const auto found = bindings.inputs.find(info.name);
  if (found == bindings.inputs.end()) {
    throw Error("X003", fmt::format("internal error: input {} is not bound", info.name));
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
  std::byte* const base = info.kind == ValueInfo::Kind::host ? host_base_ : base_;
  return {offset < 0 ? nullptr : base + offset, info.shape, info.dtype};
}

std::vector<Executor::Segment> Executor::segments(bool watched) const {
  const auto& code = program_.instructions();
  const auto stepwise = [&](const Instruction& instruction) {
    return std::ranges::any_of(instruction.in,
                               [&](Value v) { return v && program_.info(v).sized_by_host; });
  };
  const auto marked = [&](size_t i) {
    return watched &&
           std::ranges::any_of(marks_, [&](const BlockMark& m) { return m.before == i; });
  };
  std::vector<Segment> out;
  for (size_t i = 0; i < code.size(); ++i) {
    const bool single = stepwise(code[i]);
    if (out.empty() || single || out.back().stepwise || marked(i)) {
      out.push_back({i, i + 1, single});
    } else {
      out.back().end = i + 1;
    }
  }
  return out;
}

std::vector<const void*> Executor::memory_of(const Bindings& bindings) const {
  std::vector<const void*> memory{base_, host_base_};
  for (const auto& [name, tensor] : bindings.inputs) {
    memory.push_back(tensor.data);
  }
  for (const auto* tensors : {&bindings.parameters, &bindings.gradients}) {
    for (const Tensor& tensor : *tensors) {
      memory.push_back(tensor.data);
    }
  }
  return memory;
}

void Executor::tell(const Bindings& bindings, size_t before) const {
  if (bindings.watcher == nullptr) {
    return;
  }
  for (const BlockMark& mark : marks_) {
    if (mark.before == before) {
      bindings.watcher->reached(mark);
    }
  }
}

// Step by step, nothing recorded.
void Executor::run_all(const Bindings& bindings) {
  const size_t end = program_.instructions().size();
  size_t at = 0;
  for (size_t next = 1; bindings.watcher != nullptr && next < end; ++next) {
    if (std::ranges::any_of(marks_, [&](const BlockMark& m) { return m.before == next; })) {
      tell(bindings, at);
      run_instructions(std::exchange(at, next), next, bindings);
    }
  }
  tell(bindings, at);
  run_instructions(at, end, bindings);
  tell(bindings, end);
}

void Executor::run(const Bindings& bindings) {
  base_ = arena_.reserve(plan_.bytes);
  host_base_ = arena_.reserve_host(plan_.host_bytes);
  if (device_.kind() == DeviceKind::cpu || trace_ != nullptr) {
    run_all(bindings);
    return;
  }
  const bool watched = bindings.watcher != nullptr;
  Recording& recording = recordings_[(bindings.first_micro_batch ? 0 : 1) + (watched ? 2 : 0)];
  std::vector<const void*> memory = memory_of(bindings);
  if (memory != recording.memory) {  // kernels may choose their algorithms now, by trying them
    recording = {std::move(memory), {}};
    run_all(bindings);
    return;
  }
  // A recording takes memory of its own: where there is little left, go on step by step.
  constexpr size_t kSpare = size_t{128} << 20;
  if (recording.segments.empty() && device_.free_memory() < kSpare) {
    run_all(bindings);
    return;
  }
  if (recording.segments.empty()) {
    recording.segments = segments(watched);
  }
  for (Segment& segment : recording.segments) {
    tell(bindings, segment.begin);
    if (segment.stepwise) {
      run_instructions(segment.begin, segment.end, bindings);
      continue;
    }
    if (!segment.work) {
      segment.work =
          device_.record([&] { run_instructions(segment.begin, segment.end, bindings); });
    }
    segment.work->launch();
  }
  tell(bindings, program_.instructions().size());
}

void Executor::run_watched(const Bindings& bindings, const Look& look) {
  base_ = arena_.reserve(plan_.bytes);
  host_base_ = arena_.reserve_host(plan_.host_bytes);
  look_ = &look;
  try {
    run_all(bindings);
  } catch (...) {
    look_ = nullptr;
    throw;
  }
  look_ = nullptr;
}

// What an instruction leaves unwritten must not look like something it wrote.
void Executor::clear_written(const Instruction& instruction, const Run& r) {
  for (size_t i = 0; i < r.out_.size(); ++i) {
    const Tensor& out = r.out_[i];
    const bool in_place =
        std::ranges::any_of(r.in_, [&](const Tensor& in) { return in.data == out.data; });
    if (out.data != nullptr && instruction.out[i].mode == Output::Mode::overwrite && !in_place) {
      device_.zero(out.data, out.bytes());
    }
  }
}

void Executor::run_instructions(size_t begin, size_t end, const Bindings& bindings) {
  Run r;
  r.device_ = &device_;
  std::vector<Tensor> in, out;
  pending_.clear();
  for (size_t i = begin; i < end; ++i) {
    const Instruction& instruction = program_.instructions()[i];
    in.clear();
    out.clear();
    r.accumulate_.clear();
    for (const Value v : instruction.in) {
      in.push_back(resolve(v, bindings));
    }
    for (const Output& o : instruction.out) {
      out.push_back(resolve(o.value, bindings));
      r.accumulate_.push_back(
          o.mode == Output::Mode::add ||
          (o.mode == Output::Mode::add_after_first && !bindings.first_micro_batch));
    }
    r.in_ = in;
    r.out_ = out;
    join(static_cast<int>(i));
    if (look_ != nullptr) {
      clear_written(instruction, r);
    }
    const bool aside =
        instruction.aside() && (trace_ == nullptr || trace_->order() == Trace::Order::as_it_runs);
    try {
      if (aside) {
        device_.begin_aside(instruction.lane);
      }
      const int started = trace_ != nullptr ? device_.mark() : 0;
      instruction.kernel(r);
      if (trace_ != nullptr) {
        trace_->work(instruction.name, instruction.block, aside, started, device_.mark());
      }
      if (aside) {
        pending_.push_back({plan_.joins[i], device_.end_aside(), instruction.lane});
      }
    } catch (Error& e) {
      std::string shapes;
      for (const Tensor& t : in) {
        shapes += t.shape.text();
      }
      throw e.context(
          fmt::format("in {} (block {}) of {}", instruction.name, instruction.block, shapes));
    }
    if (look_ != nullptr) {
      join(static_cast<int>(program_.instructions().size()));
      if (!(*look_)(instruction, out)) {
        if (bindings.watcher == nullptr) {
          return;
        }
        look_ = nullptr;
      }
    }
  }
  join(static_cast<int>(program_.instructions().size()));
}

// Waits for what has to be done before an instruction. The work of a lane is done in order, so only
// the latest of each counts, and all before it need no wait of their own.
void Executor::join(int before) {
  for (const Lane lane : {Lane::aside, Lane::copies}) {
    size_t due = pending_.size();
    for (size_t i = 0; i < pending_.size(); ++i) {
      if (pending_[i].lane == lane && pending_[i].join <= before) {
        due = i;
      }
    }
    if (due == pending_.size()) {
      continue;
    }
    device_.wait_aside(pending_[due].ticket);
    size_t at = 0;
    std::erase_if(pending_, [&](const Pending& p) { return at++ <= due && p.lane == lane; });
  }
}

}  // namespace sft
