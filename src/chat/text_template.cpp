#include "chat/text_template.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/json_text.h"
#include "jinja/interpreter.h"
#include "jinja/parser.h"

namespace sft {

namespace {

struct Lookup {
  const Json& variables;
  const std::string& name;
  bool strict;
};

jinja::Value find_variable(void* context, std::string_view name) {
  const Lookup& lookup = *static_cast<const Lookup*>(context);
  const auto found = lookup.variables.find(std::string(name));
  if (found != lookup.variables.end()) {
    return jinja::Value::from_json(*found);
  }
  if (lookup.strict) {
    std::string names;
    for (const auto& [key, value] : lookup.variables.items()) {
      names += (names.empty() ? "" : ", ") + key;
    }
    throw Error("D085",
                fmt::format("{} reads \"{}\", and the row has {}", lookup.name, name, names))
        .hint("correct the name in the task's file, or the columns of its data");
  }
  return {};
}

}  // namespace

TextTemplate::TextTemplate(const std::string& source, std::string name)
    : parsed_(jinja::parse(source, name, jinja::WhiteSpace::kept)),
      name_(std::move(name)),
      asks_itself_(source.find("defined") != std::string::npos ||
                   source.find("default") != std::string::npos) {}

std::string TextTemplate::render(const Json& variables) const {
  Budget budget(jinja::kLimit, "the task's template",
                {.steps = jinja::kMaxSteps, .bytes = jinja::kMaxBytes, .depth = jinja::kMaxStack},
                jinja::kLimitHint);
  Lookup lookup{variables, name_, !asks_itself_};
  jinja::Interpreter interpreter(*parsed_, budget);
  return interpreter.run(find_variable, &lookup);
}

Json python_literal(const std::string& text) {
  const TextTemplate literal("{{ (" + text + ") | tojson }}", "a list that a template writes");
  return parse_json(literal.render(Json::object()), "a list that a template writes");
}

}  // namespace sft
