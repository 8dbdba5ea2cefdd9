// The list of element-wise rules. A new one is a file in optim/rules/, a name in optim/settings.h
// and a line here; the names that users type are in optim/optimizers.cpp.
#pragma once

#include <span>

#include "core/error.h"
#include "optim/rules/adagrad.h"
#include "optim/rules/adamw.h"
#include "optim/rules/direction.h"
#include "optim/rules/lion.h"
#include "optim/rules/momentum.h"
#include "optim/rules/rmsprop.h"
#include "optim/rules/sgd.h"

namespace sft {

// Calls f with the rule of that name.
template <class F>
decltype(auto) with_rule(RuleName name, F&& f) {
  switch (name) {
    case RuleName::adamw:
      return f(AdamWRule{});
    case RuleName::lion:
      return f(LionRule{});
    case RuleName::sgd:
      return f(SgdRule{});
    case RuleName::rmsprop:
      return f(RmspropRule{});
    case RuleName::adagrad:
      return f(AdagradRule{});
    case RuleName::momentum:
      return f(MomentumRule{});
    case RuleName::direction:
      return f(DirectionRule{});
  }
  assertion_failed("a rule of the list", __FILE__, __LINE__);
}

// A rule's slots, in order, and whether these settings need one.
inline std::span<const StateSlot> slots_of(RuleName name) {
  return with_rule(name,
                   [](auto rule) { return std::span<const StateSlot>(decltype(rule)::kSlots); });
}
inline bool uses_slot(RuleName name, const OptimizerSettings& s, int slot) {
  return with_rule(name, [&](auto rule) {
    return slot < static_cast<int>(decltype(rule)::kSlots.size()) && decltype(rule)::uses(s, slot);
  });
}

}  // namespace sft
