#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <set>

#include "core/error.h"
#include "core/strings.h"
#include "options/parser.h"
#include "options/recipe_environment.h"
#include "options/values.h"
#include "options/yaml_json.h"

namespace sft {
namespace {

class YamlReader {
 public:
  YamlReader(OptionTable& table, const std::string& name, ParsedOptions& parsed)
      : table_(table), name_(name), parsed_(parsed) {}

  void read(const std::string& text) {
    std::vector<YAML::Node> documents;
    try {
      documents = YAML::LoadAll(text);
    } catch (const YAML::Exception& failure) {
      throw Error("C021", fmt::format("not valid YAML: {}", failure.msg)).at(place(failure.mark));
    }
    if (documents.size() > 1) {
      throw Error("C021", "a configuration is one YAML document, without a second --- part")
          .at(place(documents[1].Mark()));
    }
    if (documents.empty() || documents[0].IsNull()) {
      return;
    }
    const YAML::Node& root = documents[0];
    if (!root.IsMap()) {
      throw Error("C021", "a configuration is a mapping: lines of the form  key: value")
          .at(place(root.Mark()));
    }
    std::set<std::string> seen;
    for (const auto& entry : root) {
      const std::string where = place(entry.first.Mark());
      if (!entry.first.IsScalar()) {
        throw Error("C021", "a key must be a word").at(where);
      }
      const std::string key = entry.first.Scalar();
      if (!seen.insert(key).second) {
        throw Error("C024", fmt::format("the key {} stands here a second time", key)).at(where);
      }
      if (key == "env") {
        environment(entry.second, where);
      } else {
        option(key, entry.second, where);
      }
    }
  }

 private:
  std::string place(const YAML::Mark& mark) const { return yaml_place(name_, mark); }

  void environment(const YAML::Node& node, const std::string& where) {
    if (!node.IsMap()) {
      throw Error("C025", "env: takes a mapping of names to values").at(where);
    }
    for (const auto& entry : node) {
      if (!entry.first.IsScalar() || !entry.second.IsScalar()) {
        throw Error("C025", "env: takes a mapping of names to plain values")
            .at(place(entry.first.Mark()));
      }
      const std::string name = entry.first.Scalar();
      if (name.empty() || name.find('=') != std::string::npos) {
        throw Error("C025", fmt::format("env: \"{}\" cannot be the name of a variable", name))
            .at(place(entry.first.Mark()));
      }
      const std::string& value = entry.second.Scalar();
      try {
        check_recipe_variable(name, value);
      } catch (Error& error) {
        throw error.at(place(entry.first.Mark()));
      }
      parsed_.env.emplace_back(name, value);
      parsed_.notes.push_back(
          fmt::format("{}: the recipe sets {} to {}", place(entry.first.Mark()), name, value));
    }
  }

  void option(const std::string& key, const YAML::Node& node, const std::string& where) {
    const OptionAlias* alias = nullptr;
    const Option* found = table_.find(key, &alias);
    if (found == nullptr || found->command_line_only) {
      unknown(key, where, found != nullptr);
    }
    const OptionSource source{fmt::format("{}:", key), where};
    if (node.IsNull()) {
      if (!found->is_optional()) {
        throw Error("C023", fmt::format("{}: has no value", key)).at(where);
      }
      set_option(*found, "none", source);
    } else if (node.IsScalar()) {
      set_option(*found, node.Scalar(), source);
    } else if (node.IsSequence() && !found->is_dict()) {
      set_option_list(*found, words(*found, node), source);
    } else {
      set_option_json(*found, yaml_to_json(node, name_), source);
    }
    parsed_.set_by[found->name] = where;
    if (alias != nullptr && alias->older) {
      parsed_.notes.push_back(fmt::format("{}: {} is now {}{}{}", where, key, found->name,
                                          alias->note.empty() ? "" : ": ", alias->note));
    }
  }

  [[noreturn]] void unknown(const std::string& key, const std::string& where, bool command_line) {
    if (command_line || key == "config") {
      throw Error("C022", fmt::format("{} is for the command line only", key)).at(where);
    }
    throw Error("C022", fmt::format("unknown key {}", key))
        .at(where)
        .hint(hint_for_unknown(table_, key, ""));
  }

  std::vector<std::string> words(const Option& option, const YAML::Node& node) const {
    std::vector<std::string> out;
    for (const YAML::Node& item : node) {
      if (!item.IsScalar()) {
        throw Error("C023", fmt::format("{}: takes a list of words", option.name))
            .at(place(item.Mark()));
      }
      out.push_back(item.Scalar());
    }
    return out;
  }

  OptionTable& table_;
  const std::string& name_;
  ParsedOptions& parsed_;
};

}  // namespace

void parse_yaml_options(OptionTable& table, const std::string& text, const std::string& name,
                        ParsedOptions& parsed) {
  YamlReader(table, name, parsed).read(text);
}

}  // namespace sft
