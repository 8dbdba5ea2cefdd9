// Numbers and dicts as Python prints them: the console lines of training are read by people and
// scripts that know transformers' output. Used by RunLog.
#pragma once

#include <string>

#include "core/json.h"

namespace sft {

// Python's repr(float): the shortest digits that give the number back, an exponent below 1e-4 and
// from 1e16 up, "inf", "nan".
std::string python_repr(double value);

// Python's str(dict) of a flat or nested value; JSON null prints as None.
std::string python_repr(const Json& value);

// Python's round(value, digits).
double python_round(double value, int digits);

}  // namespace sft
