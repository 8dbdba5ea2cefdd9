// One value of an Arrow array as JSON. Used by the Arrow reader.
#pragma once

#include <arrow/api.h>

#include "core/budget.h"
#include "core/json.h"
#include "data/read/arrow/logical.h"

namespace sft {

// Element i, as `datasets` gives it: by its logical type, not by how it is stored. A null member of
// a struct is left out, since Arrow has no other way to say that a row does not have it; `content`
// and `value` of messages stay null. What JSON cannot say (dates, times, decimals) becomes Arrow's
// text for it, bytes a binary value, which is no text. What a row may hold is the budget's (D026):
// nulls, runs and a dictionary's values take no room in the file however many they are. D023 where
// text that is JSON by its type is none; without a place, which the caller adds.
Json arrow_to_json(const arrow::Array& array, int64_t i, const Logical& logical, Budget& budget);

}  // namespace sft
