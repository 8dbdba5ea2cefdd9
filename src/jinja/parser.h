// Template text -> Template. Used by ChatTemplate and TextTemplate, once per template.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "jinja/ast.h"
#include "jinja/lexer.h"

namespace sft::jinja {

// M150 with `name`:line for a syntax error, M155 for a tag chat templates have no use for
// (include, extends, import, block, recursive loops).
std::unique_ptr<Template> parse(std::string_view source, std::string name,
                                WhiteSpace space = WhiteSpace::trimmed);

// Gives every name in the template its address (resolver.cpp). Called by `parse`.
void resolve(Template& tmpl);

}  // namespace sft::jinja
