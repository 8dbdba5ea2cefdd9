#include "options/text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/strings.h"
#include "options/values.h"

namespace sft {
namespace {

// The groups in the order of their first option, each with the options that `keep` accepts.
template <class Keep, class Each, class Title>
void by_group(const OptionTable& table, Keep keep, Title title, Each each) {
  std::string group;
  for (const Option& option : table.options()) {
    if (!keep(option)) {
      continue;
    }
    if (option.group != group) {
      group = option.group;
      title(group);
    }
    each(option);
  }
}

// Breaks `text` at spaces; lines after the first begin with `indent` spaces.
std::string wrap(std::string_view text, size_t width, size_t indent) {
  std::string out;
  size_t column = 0;
  for (const std::string& word : split(text, ' ')) {
    if (column > 0 && column + 1 + word.size() > width) {
      out += "\n" + std::string(indent, ' ');
      column = 0;
    }
    out += (column > 0 ? " " : "") + word;
    column += word.size() + (column > 0 ? 1 : 0);
  }
  return out;
}

bool is_partial(const Option& option) {
  return option.status == OptionStatus::planned && !option.built_values.empty();
}

bool works(const Option& option) {
  return option.status == OptionStatus::built || is_partial(option);
}

std::vector<std::string> working_choices(const Option& option) {
  if (option.status != OptionStatus::planned) {
    return option.choices;
  }
  std::vector<std::string> out;
  for (const std::string& choice : option.choices) {
    if (choice == option_text(option.default_value) ||
        std::ranges::find(option.built_values, choice) != option.built_values.end()) {
      out.push_back(choice);
    }
  }
  return out;
}

std::string value_hint(const Option& option) {
  if (option.is_boolean() || option.is_counter()) {
    return "";
  }
  if (!option.choices.empty() && option.choices.size() <= 4) {
    return " " + fmt::format("{}", fmt::join(working_choices(option), "|"));
  }
  std::string type = option.type_name();
  if (type.back() == '?') {
    type.pop_back();
  }
  return fmt::format(" <{}>", type);
}

std::string help_sentence(const Option& option) {
  std::string text = option.help;
  if (option.choices.size() > 4) {
    text += fmt::format(" One of {}.", fmt::join(working_choices(option), ", "));
  }
  for (const OptionAlias& alias : option.aliases) {
    text += alias.older ? "" : fmt::format(" Also --{}.", alias.name);
  }
  if (!option.is_counter()) {
    text += fmt::format(" [{}]", option_text(option.default_value));
  }
  return text;
}

bool needs_quotes(const std::string& text) {
  static constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./";
  return text.empty() || text.find_first_not_of(kPlain) != std::string::npos ||
         !(yaml_scalar(text).is_string()) || parse_bool(text).has_value() || text[0] == '-' ||
         std::isdigit(static_cast<unsigned char>(text[0])) != 0 || text[0] == '.';
}

std::string yaml_value(const Json& value) {
  if (value.is_null()) {
    return "null";
  }
  if (value.is_string()) {
    const std::string text = value.get<std::string>();
    return needs_quotes(text) ? to_text(value) : text;
  }
  if (value.is_number_float()) {
    // YAML 1.1 takes 2e-05 for a word, 2.0e-05 for a number.
    std::string text = option_text(value);
    const size_t exponent = text.find('e');
    if (exponent != std::string::npos && text.find('.') == std::string::npos) {
      text.insert(exponent, ".0");
    }
    return text;
  }
  return to_text(value);  // JSON is YAML
}

std::string markdown_cell(std::string text) {
  for (size_t at = text.find('|'); at != std::string::npos; at = text.find('|', at + 2)) {
    text.insert(at, "\\");
  }
  return text;
}

std::string markdown_row(const Option& option) {
  std::string type = option.choices.empty()
                         ? option.type_name()
                         : fmt::format("{}", fmt::join(working_choices(option), ", "));
  std::string help = option.help;
  if (is_partial(option)) {
    help += fmt::format(" Not built yet: the other values ({}).", option.status_text);
  }
  std::string flag = option.short_flag == 0 ? "" : fmt::format(" `-{}`", option.short_flag);
  for (const OptionAlias& alias : option.aliases) {
    flag += alias.older ? "" : fmt::format(" `--{}`", alias.name);
  }
  return fmt::format("| `--{}`{} | {} | `{}` | {} |\n", option.name, flag, markdown_cell(type),
                     option_text(option.default_value), markdown_cell(help));
}

}  // namespace

std::string help_text(const OptionTable& table, const HelpStyle& style) {
  constexpr size_t kColumn = 34;
  const size_t width = static_cast<size_t>(std::clamp(style.width, 60, 100));
  std::string out;
  int unlisted = 0;
  by_group(
      table,
      [&](const Option& option) {
        unlisted += works(option) ? 0 : 1;
        return works(option);
      },
      [&](const std::string& title) {
        out +=
            style.color ? fmt::format("\n\x1b[1m{}\x1b[0m\n", title) : fmt::format("\n{}\n", title);
      },
      [&](const Option& option) {
        std::string flag = fmt::format("  --{}{}", option.name, value_hint(option));
        if (option.short_flag != 0) {
          flag = fmt::format("  -{}, --{}", option.short_flag, option.name);
        }
        out += flag;
        out += flag.size() + 2 > kColumn ? "\n" + std::string(kColumn, ' ')
                                         : std::string(kColumn - flag.size(), ' ');
        out += wrap(help_sentence(option), width - kColumn, kColumn) + "\n";
      });
  out += "\n" +
         wrap(fmt::format("{} more options of TRL are known: those that have no meaning "
                          "here, and those that are not built yet and are refused with the "
                          "reason. docs/options.md lists them all.",
                          unlisted),
              width, 0) +
         "\n";
  return out;
}

std::string yaml_line(std::string_view key, const Json& value) {
  return fmt::format("{}: {}\n", key, yaml_value(value));
}

std::string yaml_text(const OptionTable& table) {
  std::string out;
  by_group(
      table, [](const Option& option) { return !option.command_line_only && !option.is_secret; },
      [&](const std::string& title) {
        out += fmt::format("{}# {}\n", out.empty() ? "" : "\n", title);
      },
      [&](const Option& option) { out += yaml_line(option.name, option.value()); });
  return out;
}

std::string markdown_text(const OptionTable& table) {
  std::string out =
      "# Options\n\n"
      "Every option of `sft`, generated from its one declaration (`sft config --markdown`). Each "
      "is "
      "a flag in\nsnake or kebab case (`--max_length 512`, `--max-length=512`) and a key of the "
      "YAML "
      "file given with\n`--config`; flags win over the file, the file over defaults, and the last "
      "occurrence of a flag wins.\nA boolean stands alone or has a value, and `--no_x` turns it "
      "off. `none` empties an option whose\ntype ends with `?`. A dict is JSON or the path of a "
      "JSON file. Names and defaults are TRL's.\n";
  const auto table_head = [&](const std::string& title) {
    out += fmt::format("\n## {}\n\n| option | type or choices | default | |\n|---|---|---|---|\n",
                       title);
  };
  by_group(table, works, table_head, [&](const Option& option) { out += markdown_row(option); });

  const auto with_status = [&](OptionStatus status, const char* title, const char* text) {
    out += fmt::format("\n## {}\n\n{}\n\n| option | default | what it is | |\n|---|---|---|---|\n",
                       title, text);
    for (const Option& option : table.options()) {
      if (option.status == status && !works(option)) {
        out += fmt::format("| `--{}` | `{}` | {} | {} |\n", option.name,
                           option_text(option.default_value), markdown_cell(option.help),
                           markdown_cell(option.status_text));
      }
    }
  };
  with_status(OptionStatus::planned, "Known, not built yet",
              "Any value but the default is refused, with the reason.");
  with_status(OptionStatus::inert, "Accepted, without meaning here",
              "They change nothing; `-v` says so when one is given.");

  out += "\n## Older names\n\n| older | now | what changed |\n|---|---|---|\n";
  for (const Option& option : table.options()) {
    for (const OptionAlias& alias : option.aliases) {
      if (alias.older) {
        out += fmt::format("| `--{}` | `--{}` | {} |\n", alias.name, option.name, alias.note);
      }
    }
  }
  return out;
}

}  // namespace sft
