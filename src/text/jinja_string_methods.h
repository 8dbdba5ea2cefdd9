// The methods of Python's str. Used by jinja_methods.cpp.
#pragma once

#include <span>

#include "text/jinja_call.h"

namespace sft::jinja {

std::span<const NativeEntry> string_methods();

}  // namespace sft::jinja
