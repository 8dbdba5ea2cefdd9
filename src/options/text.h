// What an OptionTable prints: --help, the resolved configuration as YAML, and docs/options.md.
#pragma once

#include <string>
#include <string_view>

#include "options/options.h"

namespace sft {

struct HelpStyle {
  int width = 80;      // columns
  bool color = false;  // headings bold
};

// Every option that does something, by group; planned and inert ones are counted at the end.
std::string help_text(const OptionTable& table, const HelpStyle& style);

// The values as YAML that can be read back, with the groups as comments.
std::string yaml_text(const OptionTable& table);

// "key: value" and a line's end, as yaml_text writes it.
std::string yaml_line(std::string_view key, const Json& value);

// The page of all options, in Markdown.
std::string markdown_text(const OptionTable& table);

}  // namespace sft
