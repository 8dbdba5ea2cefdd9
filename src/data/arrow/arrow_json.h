// One value of an Arrow array as JSON. Used by the Arrow reader.
#pragma once

#include <arrow/api.h>

#include "core/json.h"

namespace sft {

// Element i. A null member of a struct is left out, since Arrow has no other way to say that a row
// does not have it; `content` and `value` of messages stay null. What JSON cannot say (dates,
// decimals, binary) becomes Arrow's text for it.
Json arrow_to_json(const arrow::Array& array, int64_t i);

}  // namespace sft
