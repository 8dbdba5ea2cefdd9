// The methods of Python's str. Used by jinja_methods.cpp.
#pragma once

#include <span>

#include "jinja/call.h"

namespace sft::jinja {

std::span<const NativeEntry> string_methods();

}  // namespace sft::jinja
