// Turns what a user wrote into an option's value, and back into text. Used by the command line and
// the YAML reader, so that both accept the same spellings and give the same errors.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "options/options.h"

namespace sft {

// How the user named the option ("--max_length", "max_length:") and where ("recipe.yaml:3", or "").
struct OptionSource {
  std::string spelling, place;
};

// yes/true/t/y/on/1 and no/false/f/n/off/0 in any case; nothing for other words.
std::optional<bool> parse_bool(std::string_view text);

// Sets the value from one word: C004 when it is not of the option's type, C005 when out of range,
// C006 when not one of the choices, C007 when a JSON value is broken, C008 when its file is
// missing.
void set_option(const Option& option, std::string_view text, const OptionSource& source);
void set_option_list(const Option& option, const std::vector<std::string>& list,
                     const OptionSource& source);
// A structured value (YAML mapping or sequence) for a dict option.
void set_option_json(const Option& option, Json value, const OptionSource& source);

// The value as it would be typed: 2e-05, true, none, {"min_lr":0}.
std::string option_text(const Json& value);

// A plain scalar as YAML 1.1 reads it (booleans, null, numbers), for values inside a mapping.
Json yaml_scalar(const std::string& text);

}  // namespace sft
