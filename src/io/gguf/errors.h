// What a GGUF file's header is refused for that more of the file would not change.
#pragma once

#include "core/error.h"

namespace sft {

inline constexpr Code kNotGguf = "M220";
inline constexpr Code kGgufVersion = "M221";
inline constexpr Code kGgufType = "M227";      // of a tensor
inline constexpr Code kGgufFamily = "M229";    // the architecture
inline constexpr Code kGgufSetting = "M230";   // of the architecture
inline constexpr Code kGgufStranger = "M231";  // a tensor without a place in the architecture

}  // namespace sft
