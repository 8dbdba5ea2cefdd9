#include "text/full_match.h"

#include <fmt/format.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "core/error.h"

namespace sft {

namespace {

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct FreeContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

constexpr uint32_t kMostSteps = 1'000'000;

}  // namespace

struct FullMatch::Compiled {
  std::string expression, option;
  std::unique_ptr<pcre2_code, FreeCode> code;
  std::unique_ptr<pcre2_match_data, FreeData> data;
  std::unique_ptr<pcre2_match_context, FreeContext> context;
};

FullMatch::FullMatch(std::string_view expression, std::string_view option)
    : compiled_(std::make_unique<Compiled>()) {
  Compiled& c = *compiled_;
  c.expression = expression;
  c.option = option;
  int error = 0;
  PCRE2_SIZE at = 0;
  c.code.reset(pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NEVER_BACKSLASH_C, &error,
      &at, nullptr));
  if (!c.code) {
    PCRE2_UCHAR text[256] = {};
    pcre2_get_error_message(error, text, sizeof(text));
    throw Error("C190", fmt::format("{} is the regular expression {}, which does not compile at "
                                    "character {}: {}",
                                    option, expression, at, reinterpret_cast<const char*>(text)))
        .hint("a list of names needs no regular expression: q_proj v_proj");
  }
  c.data.reset(pcre2_match_data_create_from_pattern(c.code.get(), nullptr));
  c.context.reset(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(c.context.get(), kMostSteps);
}

FullMatch::FullMatch(FullMatch&&) noexcept = default;
FullMatch& FullMatch::operator=(FullMatch&&) noexcept = default;
FullMatch::~FullMatch() = default;

bool FullMatch::operator()(std::string_view name) const {
  const Compiled& c = *compiled_;
  const int found = pcre2_match(c.code.get(), reinterpret_cast<PCRE2_SPTR>(name.data()),
                                name.size(), 0, 0, c.data.get(), c.context.get());
  if (found < 0 && found != PCRE2_ERROR_NOMATCH) {
    throw Error("C190", fmt::format("{} is the regular expression {}, which takes too many steps "
                                    "on {}",
                                    c.option, c.expression, name))
        .hint("write one without nested repetitions, or a list of names");
  }
  return found > 0;
}

}  // namespace sft
