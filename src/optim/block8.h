// The 256 values that the codes of 8-bit states stand for, times the scale of their tile. The
// dynamic data type of Dettmers, "8-bit approximations for parallelism in deep learning" (2015), as
// bitsandbytes tabulates it.
#pragma once

#include <cstddef>
#include <vector>

namespace sft::block8 {

inline constexpr std::size_t kCodes = 256;

// The map of first moments, which have a sign, and behind it that of second moments.
std::vector<float> maps();

}  // namespace sft::block8
