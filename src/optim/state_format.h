// How an optimizer's state slots are stored: a table of formats.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/dtype.h"

namespace sft {

// f32: as torch. bf16: rounded stochastically. block8: bitsandbytes' 8 bits, a float32 scale for
// each tile of 256 elements.
enum class StateFormat : uint8_t { f32, bf16, block8 };

struct StateFormatInfo {
  StateFormat format;
  std::string_view name;
  DType dtype;  // of a slot's stored values
  bool scaled;  // with a float32 for each tile
};
const StateFormatInfo& info_of(StateFormat format);

// A state that an optimizer keeps for every element it updates.
struct StateSlot {
  std::string_view name;  // "exp_avg"
  bool is_signed;         // which of the 8-bit codes' books it takes
};
// The most that a rule has.
constexpr int kMaxSlots = 3;

}  // namespace sft
