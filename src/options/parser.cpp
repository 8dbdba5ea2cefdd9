#include "options/parser.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

#include "core/error.h"
#include "core/file.h"
#include "core/strings.h"
#include "options/borrowed_recipe.h"
#include "options/values.h"

namespace sft {
namespace {

// "-q", but not "-", "-1" or "-.5": those are values.
bool looks_like_flag(const std::string& word) {
  if (word.size() < 2 || word[0] != '-') {
    return false;
  }
  return word[1] == '-' ? word.size() > 2 : std::isalpha(static_cast<unsigned char>(word[1])) != 0;
}

std::string spelled_like(const std::string& name, std::string_view word) {
  std::string out = name;
  if (word.find('-') != std::string_view::npos && word.find('_') == std::string_view::npos) {
    std::ranges::replace(out, '_', '-');
  }
  return out;
}

bool holds_word(std::string_view words, std::string_view word) {
  const std::vector<std::string> all = split(words, ' ');
  return std::ranges::find(all, word) != all.end();
}

[[noreturn]] void unknown_flag(const OptionTable& table, std::string_view word) {
  throw Error("C001", fmt::format("unknown option --{}", word))
      .hint(hint_for_unknown(table, word, "--"));
}

class CommandLine {
 public:
  CommandLine(OptionTable& table, std::span<const std::string> args, ParseRules rules,
              ParsedOptions& parsed)
      : table_(table), args_(args), rules_(rules), parsed_(parsed) {}

  // The value of the last --config, without touching anything else.
  std::optional<std::string> config_file() const {
    std::optional<std::string> file;
    for (size_t i = 0; i < args_.size(); ++i) {
      if (args_[i] == "--config") {
        if (i + 1 == args_.size() || looks_like_flag(args_[i + 1])) {
          throw Error("C003", "--config needs a YAML file").hint("sft --config recipe.yaml");
        }
        file = args_[i + 1];
      } else if (args_[i].starts_with("--config=")) {
        file = args_[i].substr(9);
      }
    }
    return file;
  }

  void read() {
    while (next_ < args_.size()) {
      const std::string& word = args_[next_++];
      if (word == "--") {
        while (next_ < args_.size()) {
          positional(args_[next_++]);
        }
      } else if (word.starts_with("--")) {
        long_flag(word.substr(2));
      } else if (looks_like_flag(word)) {
        short_flags(word);
      } else {
        positional(word);
      }
    }
  }

 private:
  void positional(const std::string& word) {
    if (!rules_.positionals) {
      throw Error("C002", fmt::format("\"{}\" belongs to no option", word))
          .hint("options begin with --; values with spaces need quotes");
    }
    parsed_.positionals.push_back(word);
  }

  void short_flags(const std::string& word) {
    for (const char letter : std::string_view(word).substr(1)) {
      const auto& options = table_.options();
      const auto found = std::ranges::find(options, letter, &Option::short_flag);
      if (found == options.end()) {
        throw Error("C001", fmt::format("unknown option {}", word))
            .hint("--help lists all options");
      }
      set_bare(*found, fmt::format("-{}", letter));
    }
  }

  void long_flag(const std::string& word) {
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    if (rules_.config && name == "config") {
      next_ += equals == std::string::npos ? 1 : 0;
      return;  // read before everything else
    }
    const OptionAlias* alias = nullptr;
    const Option* option = table_.find(name, &alias);
    if (option == nullptr) {
      negated(name, equals != std::string::npos);
      return;
    }
    const std::string flag = fmt::format("--{}", name);
    if (equals != std::string::npos) {
      set_option(*option, std::string_view(word).substr(equals + 1), {flag, ""});
    } else {
      take_values(*option, flag);
    }
    remember(*option, alias, flag);
  }

  // --no_x, for booleans and for words that have a false.
  void negated(const std::string& name, bool has_value) {
    const bool prefix = name.starts_with("no_") || name.starts_with("no-");
    const OptionAlias* alias = nullptr;
    const Option* option = prefix ? table_.find(name.substr(3), &alias) : nullptr;
    if (option == nullptr || !(option->is_boolean() || !option->bare_value.empty())) {
      unknown_flag(table_, name);
    }
    const std::string flag = fmt::format("--{}", name);
    if (has_value) {
      throw Error("C004", fmt::format("{} takes no value", flag));
    }
    set_option(*option, "false", {flag, ""});
    remember(*option, alias, flag);
  }

  void take_values(const Option& option, const std::string& flag) {
    const bool more = next_ < args_.size() && !looks_like_flag(args_[next_]);
    if (option.is_boolean() || option.is_counter()) {
      const bool takes =
          more &&
          (option.is_counter() ? std::isdigit(static_cast<unsigned char>(args_[next_][0])) != 0
                               : bool_word(option, args_[next_]));
      if (takes) {
        set_option(option, args_[next_++], {flag, ""});
      } else {
        set_bare(option, flag);
      }
      return;
    }
    if (!more) {
      if (option.bare_value.empty()) {
        throw Error("C003", fmt::format("{} needs a value", flag))
            .hint(option.choices.empty()
                      ? fmt::format("{} <{}>", flag, option.type_name())
                      : fmt::format("it takes {}", fmt::join(option.choices, ", ")));
      }
      set_bare(option, flag);
      return;
    }
    std::vector<std::string> values{args_[next_++]};
    while (option.is_list() && next_ < args_.size() && !looks_like_flag(args_[next_])) {
      values.push_back(args_[next_++]);
    }
    set_option_list(option, values, {flag, ""});
  }

  // Where words may stand alone, only a word that is clearly a boolean belongs to the flag.
  bool bool_word(const Option& option, const std::string& word) const {
    const std::string lower = to_lower(word);
    const bool none = option.is_optional() && (lower == "none" || lower == "null");
    return !rules_.positionals || none || parse_bool(word).has_value();
  }

  void set_bare(const Option& option, const std::string& flag) {
    if (option.is_counter()) {
      ++*std::get<int64_t*>(option.target);
    } else {
      set_option(option, option.is_boolean() ? "true" : std::string_view(option.bare_value),
                 {flag, ""});
    }
    parsed_.set_by[option.name] = flag;
  }

  void remember(const Option& option, const OptionAlias* alias, const std::string& flag) {
    parsed_.set_by[option.name] = flag;
    if (alias != nullptr && alias->older) {
      parsed_.notes.push_back(fmt::format("{} is now --{}{}{}", flag, option.name,
                                          alias->note.empty() ? "" : ": ", alias->note));
    }
  }

  OptionTable& table_;
  std::span<const std::string> args_;
  ParseRules rules_;
  ParsedOptions& parsed_;
  size_t next_ = 0;
};

bool is_built(const Option& option) {
  if (option.status != OptionStatus::planned || option.is_default()) {
    return true;
  }
  const Json value = option.value();
  const auto known = [&](const Json& item) {
    return std::ranges::find(option.built_values, option_text(item)) != option.built_values.end();
  };
  return value.is_array() ? !value.empty() && std::ranges::all_of(value, known) : known(value);
}

// Through a pipe too, as shells give it.
std::string text_of_recipe(const std::string& file) {
  try {
    return read_text(file);
  } catch (const Error& e) {
    throw Error("C020", fmt::format("--config {}: {}", file, e.message()));
  }
}

}  // namespace

std::string hint_for_unknown(const OptionTable& table, std::string_view name,
                             std::string_view before) {
  std::string snake = to_lower(name);
  std::ranges::replace(snake, '-', '_');
  const auto named = [&](const std::string& option) {
    return fmt::format("did you mean  {}{}?", before, spelled_like(option, name));
  };
  for (const ForeignNames& foreign : table.foreign()) {
    if (holds_word(foreign.names, snake)) {
      return foreign.option.empty()
                 ? std::string(foreign.words)
                 : named(std::string(foreign.option)) + (foreign.words.empty() ? "" : " ") +
                       std::string(foreign.words);
    }
  }
  std::vector<std::string> names = table.names();
  names.emplace_back("config");
  std::vector<std::string> longer;
  std::ranges::copy_if(names, std::back_inserter(longer),
                       [&](const std::string& known) { return known.starts_with(snake); });
  const std::string near = longer.size() == 1 ? longer[0] : nearest(snake, names);
  if (!near.empty()) {
    return named(near);
  }
  return longer.empty() ? "--help lists all options"
                        : fmt::format("options that begin so: {}{}", before,
                                      fmt::join(longer, fmt::format(", {}", before)));
}

void check_built(const OptionTable& table, ParsedOptions& parsed) {
  for (const Option& option : table.options()) {
    const auto source = parsed.set_by.find(option.name);
    if (!is_built(option)) {
      const std::string value =
          option.built_values.empty() ? "" : " " + option_text(option.value());
      Error error("C010", fmt::format("--{}{} is not built yet: {}", option.name, value,
                                      option.status_text));
      if (source != parsed.set_by.end() && !source->second.starts_with('-')) {
        error.at(source->second);
      }
      if (!option.built_values.empty()) {
        error.hint(fmt::format("what works: {}", fmt::join(option.built_values, ", ")));
      } else if (option.default_value.is_null()) {
        error.hint(fmt::format("leave --{} out", option.name));
      } else {
        error.hint(
            fmt::format("what works: --{} {}", option.name, option_text(option.default_value)));
      }
      throw error;
    }
    if (option.status == OptionStatus::inert && source != parsed.set_by.end()) {
      parsed.inert.push_back(
          fmt::format("--{} has no effect here: {}", option.name, option.status_text));
    }
  }
}

ParsedOptions parse_options(OptionTable& table, std::span<const std::string> args,
                            ParseRules rules) {
  ParsedOptions parsed;
  CommandLine line(table, args, rules, parsed);
  if (rules.config) {
    if (const auto file = line.config_file()) {
      if (!is_there(*file)) {
        throw Error("C020", fmt::format("--config {}: there is no such file", *file));
      }
      parse_yaml_options(table, text_of_recipe(*file), *file, parsed);
      check_borrowed_recipe(table, parsed, *file);
    }
  }
  line.read();
  check_built(table, parsed);
  return parsed;
}

}  // namespace sft
