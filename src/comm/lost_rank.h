// What a communicator throws when another rank is gone.
#pragma once

#include "core/error.h"
#include "device/device.h"

namespace sft {

inline constexpr Code kRankEnded = "N001";  // of the same process
inline constexpr Code kRankLost = "N040";   // and with it the connection

// Whether what failed here may only be that another rank has ended.
inline bool may_follow_another(const Error& error) {
  return error.code() == kRankEnded || error.code() == kRankLost || error.code() == kGpuFailed;
}

}  // namespace sft
