// Options: a struct lists each of its members once in `void visit(OptionTable& v)`; the command
// line, YAML, --help, `sft config`, docs/options.md and the JSON in checkpoints all come from that
// list. Used by every module's options.h and by the command line; parsing is in option_parser.h.
//
// CLI11 was weighed and left out: two spellings per flag, optional booleans with or without a
// value, dict values and refusals per value would each need a workaround, and it costs 2 MB and 4
// ms a start.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/json.h"

namespace sft {

// The largest real number that an option may be, unless it says otherwise: it is finite in float32
// too.
inline constexpr double kMostReal = 1e30;

// Where an option's value lives. An empty list and a null Json stand for "none".
using OptionTarget = std::variant<bool*, std::optional<bool>*, int64_t*, std::optional<int64_t>*,
                                  double*, std::optional<double>*, std::string*,
                                  std::optional<std::string>*, std::vector<std::string>*, Json*>;

// What the program does with an option.
enum class OptionStatus {
  built,    // works
  planned,  // known; any value but the default (or the built ones) is refused with `status_text`
  inert,    // known; accepted, and without meaning here for the reason in `status_text`
};

// Another name of an option: an older one, which is said when it is used, or a short one. `note`
// (may be empty) says what changed.
struct OptionAlias {
  std::string name, note;
  bool older = true;
};

// Names that other programs have for something, with spaces between them: `option` does the same
// here, or `words` say what does, or why nothing has to.
struct ForeignNames {
  std::string_view names, option, words;
};

// One option, filled in by chained calls in `visit`.
struct Option {
  std::string name, help, group;
  OptionTarget target;
  std::vector<OptionAlias> aliases;
  std::vector<std::string> choices;  // empty: any value
  std::vector<std::string>
      built_values;  // for `planned`: the values (beside the default) that work
  // Of a number, which has both: a count from 0 to kMostCount, or a real number from 0 to
  // kMostReal, unless it says otherwise. Of a word: what it may be beside the choices, where it may
  // be a whole number.
  std::optional<double> minimum, maximum;
  bool minimum_excluded = false, maximum_excluded = false;
  std::function<void(const std::string&)> reader;  // throws when the text is not of its kind
  bool keeps_text = false;  // a dict given as text is kept as text: its user reads path or JSON
  std::string bare_value;   // what the flag alone means; empty: it needs a value
  char short_flag = 0;      // "-v"; an integer with a short flag counts its bare occurrences
  bool command_line_only = false;  // not a YAML key and not part of the saved configuration
  bool is_secret = false;          // never printed and not part of the saved configuration
  OptionStatus status = OptionStatus::built;
  std::string status_text;
  Json default_value;  // the member's value when it was listed

  Option& alias(std::string old_name, std::string note = "");
  Option& also(std::string short_name);
  Option& one_of(std::vector<std::string> values);
  Option& at_least(double value);
  Option& above(double value);
  Option& at_most(double value);
  Option& below(double value);
  // A word that is one of the choices, or a whole number from `low` to `high`.
  Option& or_whole(double low, double high);
  // A word of a kind of its own: `read` throws an Error when the text is not one.
  Option& read_by(std::function<void(const std::string&)> read);
  // Only the default and `values` work; the sentence says what is planned.
  Option& built_only(std::vector<std::string> values, std::string sentence);
  // Only the default works; the sentence says what is planned.
  Option& planned(std::string sentence);
  // Accepted without effect; the sentence says why.
  Option& inert(std::string reason);
  // The flag without a value means `value`, and `--no_x` means false.
  Option& bare(std::string value);
  // A dict whose text is not read here.
  Option& as_text();
  Option& short_name(char letter);
  Option& only_on_command_line();
  // A value that must not be shown: left out of what is printed and saved.
  Option& secret();

  Json value() const;
  bool is_boolean() const;
  bool is_list() const;
  bool is_dict() const;
  bool is_counter() const;   // "-v -v"
  bool is_optional() const;  // "none" is a value
  bool is_default() const { return value() == default_value; }
  // "bool", "int", "float", "str", "list", "dict", with "?" when none is a value.
  std::string type_name() const;
};

// The list that `visit` fills. Points into the visited struct, which must outlive it.
class OptionTable {
 public:
  // Starts a group; options that follow belong to it.
  void group(std::string title) { group_ = std::move(title); }
  Option& operator()(std::string name, OptionTarget target, std::string help);

  const std::vector<Option>& options() const { return options_; }
  // By name or older name, in snake or kebab case; nullptr when there is none. `used` is the alias
  // that matched, when one did.
  const Option* find(std::string_view name, const OptionAlias** used = nullptr) const;
  // Every name that `find` knows, in snake case.
  std::vector<std::string> names() const;
  // Names of other programs, for the hint of an unknown option.
  void foreign(std::span<const ForeignNames> names) { foreign_ = names; }
  std::span<const ForeignNames> foreign() const { return foreign_; }
  // Name -> value, in declaration order, without secrets and those for the command line only.
  Json values() const;

 private:
  std::string group_;
  std::vector<Option> options_;
  std::span<const ForeignNames> foreign_;
};

// The values of any options struct, by name, in declaration order.
template <class Options>
Json option_values(Options options) {
  OptionTable table;
  options.visit(table);
  return table.values();
}

}  // namespace sft
