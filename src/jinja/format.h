// Python's two ways to format text: "%s" % x and "{}".format(x).
#pragma once

#include "jinja/call.h"
#include "jinja/errors.h"
#include "jinja/value.h"

namespace sft::jinja {

// `format % value`, where a tuple gives several values and a dict named ones.
Value percent_format(const Value& format, const Value& value, Budget& budget);
// format.format(*args.positional, **args.named); `mapping` (or null) instead for format_map.
Value brace_format(const Value& format, const Args& args, const Value* mapping, Budget& budget);

}  // namespace sft::jinja
