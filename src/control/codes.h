// The codes of the control plane that the program acts on, beside showing them.
#pragma once

#include <algorithm>
#include <array>

#include "core/error_code.h"

namespace sft::control {

// Why a run refuses a newcomer.
inline constexpr Code kOtherRun = "N010";
inline constexpr Code kAttemptOver = "N011";
inline constexpr Code kTaken = "N013";  // its number, or the run's port
inline constexpr Code kOtherSize = "C151";
inline constexpr Code kOtherSecret = "C138";

// What ends a run, and every rank of it says.
inline constexpr Code kNotInTime = "N014";
inline constexpr Code kCoordinatorLost = "N015";
inline constexpr Code kRankSilent = "N016";
inline constexpr Code kRankStopped = "N017";
inline constexpr Code kNoProgress = "N018";
inline constexpr Code kNodeLost = "N019";

// Whether a rank that ends with this only says what became of others.
constexpr bool is_about_others(Code code) {
  constexpr std::array kAll{kOtherRun,   kAttemptOver, kTaken,      kNotInTime, kCoordinatorLost,
                            kRankSilent, kRankStopped, kNoProgress, kNodeLost};
  return std::ranges::find(kAll, code) != kAll.end();
}

}  // namespace sft::control
