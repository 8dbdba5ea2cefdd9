#include "graph/program.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace sft {

const char* name_of(Recompute recompute) {
  constexpr const char* kNames[] = {"none", "norms", "mlp", "block"};
  return kNames[static_cast<size_t>(recompute)];
}

Value Program::add_value(ValueInfo info) {
  info.block = block_;
  values_.push_back(std::move(info));
  gradients_.emplace_back();
  return {static_cast<int>(values_.size()) - 1};
}

Value Program::input(std::string name, Shape shape, DType dtype, bool sized_by_host) {
  const Value v = add_value({ValueInfo::Kind::input, std::move(name), shape, dtype, inputs_++});
  values_[static_cast<size_t>(v.id)].sized_by_host = sized_by_host;
  return v;
}

Value Program::parameter(int index, std::string name, Shape shape, DType dtype, bool trained,
                         int bucket) {
  const Value v = add_value({ValueInfo::Kind::parameter, name, shape, dtype, index});
  values_[static_cast<size_t>(v.id)].bucket = bucket;
  if (trained && training()) {
    const Value g =
        add_value({ValueInfo::Kind::parameter_grad, name + ".grad", shape, DType::f32, index});
    values_[static_cast<size_t>(g.id)].bucket = bucket;
    values_[static_cast<size_t>(v.id)].grad = true;
    gradients_[static_cast<size_t>(v.id)].value = g;
    gradients_[static_cast<size_t>(v.id)].shared = true;  // until the first write
  }
  return v;
}

Value Program::group(std::string name, std::vector<Value> parts) {
  std::vector<int64_t> dims = shape(parts.front()).dims();
  dims[0] = 0;
  for (const Value part : parts) {
    SFT_ASSERT(info(part).kind == ValueInfo::Kind::parameter && !info(part).grad);
    dims[0] += shape(part)[0];
  }
  const Value v =
      add_value({ValueInfo::Kind::group, std::move(name), Shape(dims), info(parts.front()).dtype});
  values_[static_cast<size_t>(v.id)].parts = std::move(parts);
  return v;
}

std::vector<Value> Program::parts(Value v) const {
  return info(v).kind == ValueInfo::Kind::group ? info(v).parts : std::vector{v};
}

Value Program::make(std::string name, Shape shape, DType dtype) {
  return add_value({ValueInfo::Kind::arena, std::move(name), shape, dtype});
}

Value Program::like(Value v, std::string name) {
  const ValueInfo source = info(v);
  return make(std::move(name), source.shape, source.dtype);
}

Value Program::mapped(Value v) const {
  const auto id = static_cast<size_t>(v.id);
  return v && id < replayed_.size() && replayed_[id] ? replayed_[id] : v;
}

void Program::emit(std::string name, std::vector<Value> in, std::vector<Output> out, Kernel kernel,
                   int reuse_in) {
  if (differentiating_) {
    std::ranges::transform(in, in.begin(), [&](Value v) { return mapped(v); });
  } else {
    const bool flows = std::ranges::any_of(in, [&](Value v) { return v && needs_grad(v); });
    for (const Output& o : out) {
      if (o.value && is_floating(info(o.value).dtype)) {
        values_[static_cast<size_t>(o.value.id)].grad |= flows;
      }
    }
  }
  instructions_.push_back(
      {std::move(name), block_, std::move(in), std::move(out), std::move(kernel), reuse_in});
}

void Program::keep(Value v) { values_[static_cast<size_t>(v.id)].kept = true; }

void Program::run_aside() {
  for (const Output& o : instructions_.back().out) {
    SFT_ASSERT(!o.value || info(o.value).kind == ValueInfo::Kind::parameter_grad);
  }
  instructions_.back().lane = Lane::aside;
}

void Program::recompute_from(Recompute policy, size_t first) {
  for (size_t i = first; i < instructions_.size(); ++i) {
    instructions_[i].recompute_from = policy;
  }
}

void Program::recompute_by(std::string name, std::vector<Value> in, std::vector<Value> out,
                           Kernel kernel) {
  instructions_.back().shortcut = static_cast<int>(shortcuts_.size());
  shortcuts_.push_back(
      {std::move(name), block_, std::move(in), {out.begin(), out.end()}, std::move(kernel)});
}

void Program::on_backward(std::function<void(Program&)> backward) {
  if (training()) {
    tape_.push_back({block_, std::move(backward)});
  }
}

Value Program::grad(Value v) const {
  const ValueInfo& i = info(v);
  return i.kind == ValueInfo::Kind::parameter ? Value{}
                                              : gradients_[static_cast<size_t>(v.id)].value;
}

Output Program::grad_out(Value v) {
  if (!v || !needs_grad(v)) {
    return {};
  }
  // A loss inside a block would be computed, and its gradients added, a second time.
  SFT_ASSERT(differentiating_ || block_ < 0 || memory_.recompute == Recompute::none);
  Gradient& g = gradients_[static_cast<size_t>(v.id)];
  if (info(v).kind == ValueInfo::Kind::parameter) {
    const bool first = std::exchange(g.shared, false);
    return {g.value, first ? Output::Mode::add_after_first : Output::Mode::add};
  }
  if (!g.value) {
    const std::string name = info(v).name + ".grad";
    const Value fresh = info(v).wide_grad ? make(name, shape(v)) : like(v, name);
    gradients_[static_cast<size_t>(v.id)].value = fresh;
    return fresh;
  }
  if (g.shared) {  // others read this memory: go on in a copy
    const Value copy = like(v, info(v).name + ".grad");
    Gradient& now = gradients_[static_cast<size_t>(v.id)];
    emit("copy", {now.value}, {copy},
         [](const Run& r) { r.device().copy(r.out(0).data, r.in(0).data, r.out(0).bytes()); });
    now = {copy, false};
  }
  return {gradients_[static_cast<size_t>(v.id)].value, Output::Mode::add};
}

void Program::replace_grad(Value v, Value g) {
  if (needs_grad(v)) {
    SFT_ASSERT(info(v).kind == ValueInfo::Kind::arena);
    gradients_[static_cast<size_t>(v.id)] = {g, false};
  }
}

void Program::share_grad(Value v, Value g) {
  if (!needs_grad(v)) {
    return;
  }
  Gradient& mine = gradients_[static_cast<size_t>(v.id)];
  if (!mine.value) {
    mine = {g, true};
    for (Gradient& other : gradients_) {
      other.shared |= other.value == g;
    }
    return;
  }
  emit("add", {g}, {grad_out(v)},
       [](const Run& r) { r.device().add(r.in(0), r.out(0), r.accumulate(0)); });
}

// Whether nothing of its block comes before it: its inputs are the block's.
bool Program::starts_block(const Instruction& instruction) const {
  return std::ranges::none_of(instruction.in, [&](Value v) {
    return v && info(v).kind == ValueInfo::Kind::arena && info(v).block == instruction.block;
  });
}

void Program::replay(Instruction copy) {
  copy.recomputed = true;
  std::ranges::transform(copy.in, copy.in.begin(), [&](Value v) { return mapped(v); });
  for (Output& o : copy.out) {
    if (o.value && o.mode != Output::Mode::overwrite) {
      SFT_ASSERT(mapped(o.value) != o.value);
      o.value = mapped(o.value);  // the copy that an instruction before has begun
    } else if (o.value) {
      const Value fresh = like(o.value, info(o.value).name);
      replayed_.resize(values_.size());
      replayed_[static_cast<size_t>(o.value.id)] = fresh;
      o.value = fresh;
    }
  }
  instructions_.push_back(std::move(copy));
}

void Program::replay_block(int block, size_t forward_end) {
  for (size_t i = 0; i < forward_end; ++i) {
    const Instruction instruction = instructions_[i];
    if (instruction.block != block) {
      continue;
    }
    const bool with_input = instruction.recompute_with_input && !instruction.in.empty() &&
                            mapped(instruction.in[0]) != instruction.in[0];
    const bool itself = memory_.recompute >= instruction.recompute_from || with_input;
    // A block that begins by adding two values up keeps the sum, not both.
    if (instruction.shortcut >= 0 && (!itself || starts_block(instruction))) {
      replay(shortcuts_[static_cast<size_t>(instruction.shortcut)]);
    } else if (itself) {
      replay(instruction);
    }
  }
}

void Program::differentiate() {
  differentiating_ = true;
  const size_t forward_end = instructions_.size();
  int replaying = -1;
  for (size_t i = tape_.size(); i-- > 0;) {
    const TapeEntry entry = tape_[i];
    block_ = entry.block;
    if (entry.block != replaying) {
      replaying = entry.block;
      replayed_.clear();
      if (memory_.recompute != Recompute::none && replaying >= 0) {
        replay_block(replaying, forward_end);
      }
    }
    entry.backward(*this);
  }
  replayed_.clear();
  block_ = -1;
  zero_unwritten_gradients();
  differentiating_ = false;
  drop_unread_recomputation();
  if (memory_.offload) {
    offload(forward_end);
  }
}

// A trained parameter that the loss does not depend on must not keep its last gradient.
void Program::zero_unwritten_gradients() {
  for (int id = 0; id < static_cast<int>(values_.size()); ++id) {
    const Value v{id};
    if (needs_grad(v) && info(v).kind == ValueInfo::Kind::parameter &&
        gradients_[static_cast<size_t>(id)].shared) {
      emit("zero", {}, {grad_out(v)}, [](const Run& r) {
        if (!r.accumulate(0)) {
          r.device().zero(r.out(0).data, r.out(0).bytes());
        }
      });
    }
  }
}

void Program::drop_unread_recomputation() {
  std::vector<bool> read(values_.size(), false);
  std::vector<bool> keep(instructions_.size(), true);
  for (size_t i = instructions_.size(); i-- > 0;) {
    const Instruction& instruction = instructions_[i];
    if (instruction.recomputed) {
      keep[i] = std::ranges::any_of(instruction.out, [&](const Output& o) {
        return o.value && read[static_cast<size_t>(o.value.id)];
      });
    }
    if (keep[i]) {
      for (const Value v : instruction.in) {
        if (v) {
          read[static_cast<size_t>(v.id)] = true;
        }
      }
    }
  }
  std::vector<Instruction> kept;
  for (size_t i = 0; i < instructions_.size(); ++i) {
    if (keep[i]) {
      kept.push_back(std::move(instructions_[i]));
    }
  }
  instructions_ = std::move(kept);
}

}  // namespace sft
