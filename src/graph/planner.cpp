#include "graph/planner.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace sft {

namespace {

constexpr int64_t kAlign = 64;

struct Lifetime {
  int first = std::numeric_limits<int>::max();
  int last = -1;
  int aside_until = -1;  // read beside the other instructions up to this one
  int64_t bytes = 0;
  int64_t offset = -1;

  bool overlaps(const Lifetime& other) const { return first <= other.last && other.first <= last; }
};

std::vector<Lifetime> lifetimes(const Program& program, const std::vector<int>& joins) {
  const auto& values = program.values();
  std::vector<Lifetime> lives(values.size());
  for (size_t v = 0; v < values.size(); ++v) {
    const auto bytes = values[v].shape.elements() * static_cast<int64_t>(size_of(values[v].dtype));
    lives[v].bytes = (bytes + kAlign - 1) / kAlign * kAlign;
  }
  const auto& code = program.instructions();
  for (int i = 0; i < static_cast<int>(code.size()); ++i) {
    const auto touch = [&](Value v) {
      if (v) {
        Lifetime& life = lives[static_cast<size_t>(v.id)];
        life.first = std::min(life.first, i);
        life.last = std::max(life.last, i);
      }
    };
    for (const Value v : code[static_cast<size_t>(i)].in) {
      touch(v);
      if (v && joins[static_cast<size_t>(i)] >= 0) {
        Lifetime& life = lives[static_cast<size_t>(v.id)];
        life.aside_until = std::max(life.aside_until, joins[static_cast<size_t>(i)] - 1);
        life.last = std::max(life.last, life.aside_until);
      }
    }
    for (const Output& o : code[static_cast<size_t>(i)].out) {
      touch(o.value);
    }
  }
  for (size_t v = 0; v < values.size(); ++v) {
    if (values[v].kept && lives[v].last >= 0) {
      lives[v].last = static_cast<int>(code.size());
    }
  }
  return lives;
}

}  // namespace

std::vector<int> join_points(const Program& program) {
  const auto& code = program.instructions();
  const auto touches = [](const Instruction& instruction, const std::vector<Output>& written) {
    return std::ranges::any_of(written, [&](const Output& w) {
      return w.value && (std::ranges::find(instruction.in, w.value) != instruction.in.end() ||
                         std::ranges::any_of(instruction.out,
                                             [&](const Output& o) { return o.value == w.value; }));
    });
  };
  std::vector<int> joins(code.size(), -1);
  for (size_t i = 0; i < code.size(); ++i) {
    if (!code[i].aside()) {
      continue;
    }
    int changes = 0;
    size_t j = i + 1;
    for (; j < code.size(); ++j) {
      changes += code[j].block != code[j - 1].block ? 1 : 0;
      if (changes == 2 || (!code[j].aside() && touches(code[j], code[i].out))) {
        break;
      }
    }
    joins[i] = static_cast<int>(j);
  }
  return joins;
}

Plan plan_memory(const Program& program) {
  const auto& values = program.values();
  const auto& code = program.instructions();
  Plan plan;
  plan.joins = join_points(program);
  std::vector<Lifetime> lives = lifetimes(program, plan.joins);
  const auto in_arena = [&](Value v) {
    return v && values[static_cast<size_t>(v.id)].kind == ValueInfo::Kind::arena;
  };

  // Values that share one place: each points to the one whose lifetime covers all of them.
  std::vector<int> owner(values.size());
  std::iota(owner.begin(), owner.end(), 0);
  for (int i = 0; i < static_cast<int>(code.size()); ++i) {
    const Instruction& instruction = code[static_cast<size_t>(i)];
    if (instruction.reuse_in < 0) {
      continue;
    }
    const Value from = instruction.in[static_cast<size_t>(instruction.reuse_in)];
    const Value to = instruction.out[0].value;
    if (!in_arena(from) || !in_arena(to) || instruction.out[0].mode != Output::Mode::overwrite) {
      continue;
    }
    Lifetime& source = lives[static_cast<size_t>(owner[static_cast<size_t>(from.id)])];
    Lifetime& target = lives[static_cast<size_t>(to.id)];
    const Lifetime& dying = lives[static_cast<size_t>(from.id)];
    if (dying.last == i && dying.aside_until < i && source.last == i && target.first == i &&
        source.bytes == target.bytes) {
      owner[static_cast<size_t>(to.id)] = owner[static_cast<size_t>(from.id)];
      source.last = target.last;
    }
  }

  std::vector<size_t> order;
  for (size_t v = 0; v < values.size(); ++v) {
    const bool placed = values[v].kind == ValueInfo::Kind::arena && lives[v].last >= 0;
    if (placed) {
      plan.sum_of_values += lives[v].bytes;
      if (owner[v] == static_cast<int>(v)) {
        order.push_back(v);
      }
    }
  }
  std::ranges::stable_sort(order,
                           [&](size_t a, size_t b) { return lives[a].bytes > lives[b].bytes; });

  std::vector<size_t> done;  // by offset
  for (const size_t v : order) {
    Lifetime& life = lives[v];
    int64_t at = 0;
    for (const size_t other : done) {
      if (!life.overlaps(lives[other])) {
        continue;
      }
      if (lives[other].offset - at >= life.bytes) {
        break;
      }
      at = std::max(at, lives[other].offset + lives[other].bytes);
    }
    life.offset = at;
    plan.bytes = std::max(plan.bytes, at + life.bytes);
    done.insert(std::ranges::upper_bound(done, at, {}, [&](size_t d) { return lives[d].offset; }),
                v);
  }

  plan.offsets.assign(values.size(), -1);
  for (size_t v = 0; v < values.size(); ++v) {
    plan.offsets[v] = lives[static_cast<size_t>(owner[v])].offset;
    if (values[v].kind == ValueInfo::Kind::host && lives[v].last >= 0) {
      plan.offsets[v] = plan.host_bytes;
      plan.host_bytes += lives[v].bytes;
    }
  }
  return plan;
}

}  // namespace sft
