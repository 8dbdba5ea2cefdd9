// The filters that walk a sequence (map, select, sort, join, ...). Used by jinja_filters.cpp.
#pragma once

#include <span>

#include "jinja/call.h"

namespace sft::jinja {

std::span<const NativeEntry> sequence_filters();

}  // namespace sft::jinja
