// The template language itself: what no golden file can hold, namely bounds, error codes and
// places.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "chat/chat_template.h"
#include "core/error.h"

namespace sft {
namespace {

std::string render(const std::string& source, Json variables = Json::object()) {
  RenderOptions options;
  options.kwargs = std::move(variables);
  return ChatTemplate(source).render(Json::array(), options).text;
}

struct Failure {
  std::string code, message, where;
};

Failure failure(const std::string& source, Json variables = Json::object()) {
  try {
    const std::string text = render(source, std::move(variables));
    ADD_FAILURE() << source << " rendered: " << text.substr(0, 200);
  } catch (const Error& error) {
    return {std::string(error.code().text()), error.message(), error.where()};
  }
  return {};
}

TEST(jinja, keeps_variables_in_their_scopes) {
  EXPECT_EQ(
      render("{% set a = 1 %}{% for i in [1, 2] %}{% set a = a + i %}{{ a }}{% endfor %}{{ a }}"),
      "231");
  EXPECT_EQ(
      render(
          "{% macro m() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}{% set x = 2 %}{{ m() }}"),
      "12");
  // a macro outlives the call it was defined in
  EXPECT_EQ(render("{% set ns = namespace() %}{% macro outer(v) %}{% macro inner() %}{{ v }}"
                   "{% endmacro %}{% set ns.f = inner %}{% endmacro %}{{ outer(7) }}{{ ns.f() }}"),
            "7");
}

TEST(jinja, evaluates_lazily_what_python_evaluates_lazily) {
  EXPECT_EQ(render("{% set g = [1] | map('nosuch') %}{% if g %}yes{% endif %}"), "yes");
  EXPECT_EQ(failure("{% set g = [1] | map('nosuch') %}{{ g | list }}").code, "M161");
  EXPECT_EQ(render("{% set ns = namespace(seen=0) %}{% for x in [1, 2, 3] if x > ns.seen + 1 or "
                   "loop is defined %}{{ x }}{% endfor %}"),
            "23");
}

TEST(jinja, prints_numbers_as_python_does) {
  EXPECT_EQ(render("{{ [x, 1e22, 5e-324, 1.7976931348623157e308, -0.0, 0.1, 1e16, 123456.0] }}",
                   {{"x", 2.0}}),
            "[2.0, 1e+22, 5e-324, 1.7976931348623157e+308, -0.0, 0.1, 1e+16, 123456.0]");
  EXPECT_EQ(
      render("{{ x }} {{ y }}", {{"x", -9223372036854775807LL - 1}, {"y", 9223372036854775807LL}}),
      "-9223372036854775808 9223372036854775807");
}

TEST(jinja, says_where_and_why_a_template_fails) {
  const Failure syntax = failure("line one\n{% if x %}\n{{ 1 + }}\n{% endif %}");
  EXPECT_EQ(syntax.code, "M150");
  EXPECT_EQ(syntax.where, "chat_template.jinja:3");
  EXPECT_NE(syntax.message.find("expected an expression, got }}"), std::string::npos);

  const Failure raised = failure("\n\n{{ raise_exception('only user and ' ~ 'assistant') }}");
  EXPECT_EQ(raised.code, "M151");
  EXPECT_EQ(raised.message, "only user and assistant");
  EXPECT_EQ(raised.where, "chat_template.jinja:3");

  const Failure undefined = failure("{{ tool.function.name }}", {{"tool", Json::object()}});
  EXPECT_EQ(undefined.code, "M152");
  EXPECT_EQ(undefined.message, "'dict object' has no attribute 'function'");
  EXPECT_EQ(failure("{{ nothing + 'x' }}").message, "'nothing' is undefined");

  EXPECT_EQ(failure("{{ 'a' + 1 }}").code, "M153");
  EXPECT_EQ(failure("{% include 'other' %}").code, "M155");
  EXPECT_EQ(failure("{% for x in [] recursive %}{% endfor %}").code, "M155");
  EXPECT_EQ(failure("{{ [].append(1) }}").code, "M156");
  EXPECT_EQ(failure("{{ ''.__class__.mro() }}").code, "M156");
  EXPECT_EQ(failure("{{ 'x' | nosuch }}").code, "M161");
}

// Python's values of the same expressions.
TEST(jinja, prints_unsigned_integers_of_64_bits_exactly) {
  const Json x = {{"x", {{"id", 18446744073709551615ULL}, {"n", {9223372036854775808ULL}}}}};
  EXPECT_EQ(render("{{ x.id }} {{ x | tojson }} {{ x.id ~ '' }}", x),
            "18446744073709551615 {\"id\": 18446744073709551615, \"n\": [9223372036854775808]} "
            "18446744073709551615");
  EXPECT_EQ(render("{{ x.n }}{{ x.id is integer }}{{ x.id is number }}{{ x.id is string }}"
                   "{{ x.id == x.id }}{{ x.id == x.n[0] }}{{ 'y' if x.id }}",
                   x),
            "[9223372036854775808]TrueTrueFalseTrueFalsey");
}

TEST(jinja, refuses_integers_it_cannot_hold) {
  EXPECT_EQ(failure("{{ 9223372036854775807 + 1 }}").code, "M160");
  EXPECT_EQ(failure("{{ 3 ** 100 }}").code, "M160");
  EXPECT_EQ(failure("{{ x + 1 }}", {{"x", 18446744073709551615ULL}}).code, "M160");
  EXPECT_EQ(failure("{{ -x }}", {{"x", -9223372036854775807LL - 1}}).code, "M160");
  EXPECT_EQ(failure("{{ 99999999999999999999 }}").code, "M150");
}

TEST(jinja, stops_templates_that_would_not_end) {
  const auto expect_limit = [](const std::string& source) {
    EXPECT_EQ(failure(source).code, "M154") << source;
  };
  expect_limit("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}");
  expect_limit("{{ 'x' * 10000000000 }}");
  expect_limit("{{ [1] * 10000000000 }}");
  expect_limit("{{ range(1000000000) }}");
  expect_limit("{{ range(-9223372036854775807, 9223372036854775807) }}");
  expect_limit("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}");
  expect_limit(
      "{% set ns = namespace(s='ab') %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% "
      "endfor %}");
  expect_limit(
      "{% set ns = namespace(l=[]) %}{% for i in range(1000) %}{% set ns.l = [ns.l] %}{% endfor "
      "%}");
  expect_limit(
      "{% set ns = namespace(d={}) %}{% for i in range(1000) %}{% set ns.d = {'k': ns.d} %}{% "
      "endfor %}");
  expect_limit(
      "{% set ns = namespace(g=[1]) %}{% for i in range(1000) %}{% set ns.g = ns.g | map('abs') "
      "%}{% endfor %}{{ ns.g | list }}");
  expect_limit("{% set ns = namespace() %}{% set ns.self = ns %}{{ ns }}");
  expect_limit("{{ 'x'.center(10000000000) }}{{ '%99999999d' % 1 }}");
  expect_limit("{{ ('a' * 1000000) | replace('a', 'b' * 1000000) }}");
  expect_limit("{{ ('a' * 1000000).replace('', 'b' * 1000000) }}");
}

TEST(jinja, refuses_templates_nested_beyond_reason) {
  const auto repeat = [](const std::string& text, int n) {
    std::string out;
    for (int i = 0; i < n; ++i) {
      out += text;
    }
    return out;
  };
  EXPECT_EQ(failure("{{ " + repeat("(", 5000) + "1" + repeat(")", 5000) + " }}").code, "M150");
  EXPECT_EQ(failure("{{ " + repeat("not ", 5000) + "1 }}").code, "M150");
  EXPECT_EQ(failure("{{ " + repeat("-", 5000) + "1 }}").code, "M150");
  EXPECT_EQ(failure("{{ 1" + repeat(" + 1", 5000) + " }}").code, "M150");
  EXPECT_EQ(failure("{{ x" + repeat(".a", 5000) + " }}").code, "M150");
  EXPECT_EQ(failure(repeat("{% if true %}", 5000) + repeat("{% endif %}", 5000)).code, "M150");
  EXPECT_EQ(render("{{ 1" + repeat(" + 1", 1500) + " }}"), "1501");

  Json deep = 1;
  for (int i = 0; i < 1000; ++i) {
    deep = Json::array({deep});
  }
  EXPECT_EQ(failure("{{ x }}", {{"x", deep}}).code, "M154");
}

TEST(jinja, does_not_leak_objects_that_hold_themselves) {
  // AddressSanitizer runs of this test are what proves it
  EXPECT_EQ(render("{% set ns = namespace() %}{% set ns.me = [ns] %}{% for i in [1] %}"
                   "{{ loop.changed(loop) }}{% set ns.l = loop %}{% endfor %}"
                   "{% macro m() %}{% endmacro %}{% set ns.m = m %}"),
            "True");
}

TEST(jinja, survives_damaged_templates) {
  const std::string source =
      "{%- for m in messages %}{{ m['x'] | trim ~ \"\\u00e9\" }}{# c #}{% raw %}{{{% endraw %}"
      "{%- set a, b = (1, [2, {'k': 3.5e1}]) -%}{% endfor %}{{ 'é'[::-1] if a is not none else b.c "
      "}}";
  for (size_t cut = 0; cut < source.size(); ++cut) {
    for (const std::string& broken : {source.substr(0, cut), source.substr(cut),
                                      source.substr(0, cut) + "%" + source.substr(cut)}) {
      try {
        render(broken);
      } catch (const Error& error) {
        EXPECT_EQ(error.code().letter(), 'M') << broken;
        EXPECT_FALSE(error.where().empty()) << broken;
      }
    }
  }
}

}  // namespace
}  // namespace sft
