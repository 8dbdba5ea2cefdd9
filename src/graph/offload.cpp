// Program::offload: what the forward pass leaves for one block's backward pass waits in the host's
// memory. Copies run in a lane of their own: out from when a value is made, back while the block
// before in the backward pass is at work.
#include <algorithm>
#include <map>

#include "graph/program.h"

namespace sft {

namespace {

// Of values with less than two dimensions there is too little for a copy to be worth it.
constexpr size_t kSoon =
    2;  // blocks whose backward pass comes first: theirs would come back at once

// Where a value is touched.
struct Uses {
  size_t made = 0;               // the last instruction of the forward pass that writes it
  std::vector<size_t> backward;  // the instructions after that pass that read it
  bool written_backward = false;
  bool forward = false;
};

std::vector<Uses> uses_of(const std::vector<Instruction>& code, size_t values, size_t forward_end) {
  std::vector<Uses> uses(values);
  for (size_t i = 0; i < code.size(); ++i) {
    for (const Value v : code[i].in) {
      if (v && i >= forward_end) {
        uses[static_cast<size_t>(v.id)].backward.push_back(i);
      }
    }
    for (const Output& o : code[i].out) {
      if (o.value && i < forward_end) {
        uses[static_cast<size_t>(o.value.id)].made = i;
        uses[static_cast<size_t>(o.value.id)].forward = true;
      } else if (o.value) {
        uses[static_cast<size_t>(o.value.id)].written_backward = true;
      }
    }
  }
  return uses;
}

void copy_kernel(const Run& r) { r.device().copy(r.out(0).data, r.in(0).data, r.out(0).bytes()); }

}  // namespace

void Program::offload(size_t forward_end) {
  const std::vector<Uses> uses = uses_of(instructions_, values_.size(), forward_end);
  // The blocks in the order of the backward pass, and where each begins there.
  std::vector<std::pair<int, size_t>> order;
  for (size_t i = forward_end; i < instructions_.size(); ++i) {
    const int block = instructions_[i].block;
    if (block >= 0 && (order.empty() || order.back().first != block)) {
      order.emplace_back(block, i);
    }
  }
  std::multimap<size_t, Instruction> after, before;
  const size_t count = values_.size();
  for (size_t id = 0; id < count; ++id) {
    const Uses& u = uses[id];
    const ValueInfo source = values_[id];
    if (source.kind != ValueInfo::Kind::arena || source.kept || !u.forward || u.written_backward ||
        u.backward.empty() || source.shape.rank() < 2 || !is_floating(source.dtype)) {
      continue;
    }
    const int block = instructions_[u.backward.front()].block;
    const auto place =
        std::ranges::find_if(order, [&](const auto& entry) { return entry.first == block; });
    const bool of_one_block =
        std::ranges::all_of(u.backward, [&](size_t i) { return instructions_[i].block == block; });
    if (!of_one_block || place == order.end() ||
        static_cast<size_t>(place - order.begin()) < kSoon) {
      continue;
    }
    const Value original{static_cast<int>(id)};
    block_ = source.block;
    const Value away =
        add_value({ValueInfo::Kind::host, source.name + ".away", source.shape, source.dtype});
    block_ = (place - 1)->first;
    const Value back = like(original, source.name);
    block_ = -1;
    const auto move = [&](const char* name, int at, Value from, Value to) {
      Instruction instruction{name, at, {from}, {to}, copy_kernel};
      instruction.lane = Lane::copies;
      return instruction;
    };
    after.emplace(u.made, move("offload", instructions_[u.made].block, original, away));
    before.emplace((place - 1)->second, move("fetch", (place - 1)->first, away, back));
    for (const size_t i : u.backward) {
      std::ranges::replace(instructions_[i].in, original, back);
    }
  }
  std::vector<Instruction> code;
  const auto put = [&](std::multimap<size_t, Instruction>& extra, size_t i) {
    const auto [begin, end] = extra.equal_range(i);
    for (auto it = begin; it != end; ++it) {
      code.push_back(std::move(it->second));
    }
  };
  for (size_t i = 0; i < instructions_.size(); ++i) {
    put(before, i);
    code.push_back(std::move(instructions_[i]));
    put(after, i);
  }
  instructions_ = std::move(code);
}

}  // namespace sft
