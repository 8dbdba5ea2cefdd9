// Reads options from a command line and a YAML file into the struct behind an OptionTable.
// Defaults < YAML < command line; the last occurrence wins. Used by every subcommand.
#pragma once

#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "options/options.h"

namespace sft {

struct ParsedOptions {
  std::map<std::string, std::string> set_by;  // option -> "--flag" or "recipe.yaml:3"
  std::vector<std::string> notes;             // an older name was used: one line each
  std::vector<std::string> inert;             // an option without meaning here was given
  std::vector<std::string> positionals;
  std::vector<std::pair<std::string, std::string>> env;  // of the YAML's `env:`, for the caller
  bool is_set(const std::string& name) const { return set_by.contains(name); }
};

struct ParseRules {
  bool positionals = false;  // words that belong to no flag are kept rather than refused
  bool config = true;        // `--config file.yaml` is known
};

// `args` without the program's and the subcommand's name. Errors: C001 unknown flag, C002 stray
// word, C003 value missing, C004-C008 value wrong (option_values.h), C010 known but not built,
// C020-C025 YAML.
ParsedOptions parse_options(OptionTable& table, std::span<const std::string> args,
                            ParseRules rules = {});

// A YAML document alone; `name` is the file shown in errors.
void parse_yaml_options(OptionTable& table, const std::string& text, const std::string& name,
                        ParsedOptions& parsed);

// The way out for a name that no option has: what another program's option of that name is called
// here, or the nearest name. `before` stands before names ("--" on the command line).
std::string hint_for_unknown(const OptionTable& table, std::string_view name,
                             std::string_view before);

// C010 for an option whose value is known but not built yet; fills `parsed.inert`.
void check_built(const OptionTable& table, ParsedOptions& parsed);

}  // namespace sft
