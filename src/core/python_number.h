// Numbers as Python prints and rounds them: templates print so, and people and scripts read the
// console lines of training so.
#pragma once

#include <string>

namespace sft {

// Python's repr(float): the shortest digits that give the number back, an exponent below 1e-4 and
// from 1e16 up, "inf", "nan".
std::string python_repr(double value);

// Python's round(value, digits).
double python_round(double value, int digits);

}  // namespace sft
