#include "text/pattern.h"

#include <fmt/format.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cstring>

#include "core/error.h"
#include "core/json.h"
#include "text/regex_syntax.h"
#include "text/unicode.h"
#include "text/word_scanner.h"

namespace sft {
namespace {

template <auto release>
struct Release {
  template <typename T>
  void operator()(T* p) const {
    release(p);
  }
};
using CompiledCode = std::unique_ptr<pcre2_code, Release<pcre2_code_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Release<pcre2_match_data_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Release<pcre2_match_context_free>>;
using JitStack = std::unique_ptr<pcre2_jit_stack, Release<pcre2_jit_stack_free>>;

constexpr size_t kJitStackBytes = 64 << 20;

}  // namespace

struct Pattern::Compiled {
  CompiledCode code;
};

Pattern::Pattern() = default;
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;
Pattern::~Pattern() = default;

Pattern Pattern::regex(std::string_view oniguruma, const std::string& where) {
  Pattern pattern;
  pattern.source_ = oniguruma;
  pattern.where_ = where;
  const std::string perl = oniguruma_to_pcre2(oniguruma, where);
  int error = 0;
  PCRE2_SIZE at = 0;
  constexpr uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  CompiledCode code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(perl.data()), perl.size(), options,
                                  &error, &at, nullptr));
  if (!code) {
    PCRE2_UCHAR text[256] = {};
    pcre2_get_error_message(error, text, sizeof(text));
    throw Error("M108", fmt::format("the regular expression of {} does not compile ({}): {}", where,
                                    reinterpret_cast<const char*>(text), oniguruma))
        .hint("the tokenizer file is damaged or written for another library");
  }
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);  // where there is no JIT it still matches
  pattern.compiled_ = std::make_unique<Compiled>(Compiled{std::move(code)});
  pattern.scanner_ = WordScanner::recognise(oniguruma);
  return pattern;
}

Pattern Pattern::literal(std::string text) {
  Pattern pattern;
  pattern.source_ = std::move(text);
  return pattern;
}

Pattern Pattern::from_json(const Json& json, const std::string& where) {
  if (json.is_string()) {
    return literal(json.get<std::string>());
  }
  if (json.is_object() && json.contains("String") && json["String"].is_string()) {
    return literal(json["String"].get<std::string>());
  }
  if (json.is_object() && json.contains("Regex") && json["Regex"].is_string()) {
    return regex(json["Regex"].get<std::string>(), where);
  }
  throw Error("M100", fmt::format("the pattern of {} is neither a String nor a Regex", where))
      .hint("the tokenizer file is damaged; fetch it again");
}

void Pattern::find(std::string_view text, uint32_t offset, Budget& budget,
                   std::vector<PatternPart>& parts) const {
  if (compiled_) {
    find_regex(text, offset, budget, parts);
  } else {
    budget.scan(text.size());
    find_literal(text, offset, parts);
  }
}

void Pattern::find_literal(std::string_view text, uint32_t offset,
                           std::vector<PatternPart>& parts) const {
  size_t previous = 0;
  const auto add = [&](size_t begin, size_t end, bool matched) {
    if (begin < end) {
      parts.push_back(
          {{offset + static_cast<uint32_t>(begin), offset + static_cast<uint32_t>(end)}, matched});
    }
  };
  if (!source_.empty()) {
    // memmem is linear in the text, whatever is looked for.
    while (const void* found = memmem(text.data() + previous, text.size() - previous,
                                      source_.data(), source_.size())) {
      const auto hit = static_cast<size_t>(static_cast<const char*>(found) - text.data());
      add(previous, hit, false);
      add(hit, hit + source_.size(), true);
      previous = hit + source_.size();
    }
  }
  add(previous, text.size(), false);
}

void Pattern::find_regex(std::string_view text, uint32_t offset, Budget& budget,
                         std::vector<PatternPart>& parts) const {
  pcre2_code* code = compiled_->code.get();
  const MatchData data(pcre2_match_data_create(1, nullptr));
  MatchContext context;
  JitStack stack;
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const auto add = [&](size_t begin, size_t end, bool matched) {
    parts.push_back(
        {{offset + static_cast<uint32_t>(begin), offset + static_cast<uint32_t>(end)}, matched});
  };
  size_t previous = 0, start = 0;
  bool any = false;
  // PCRE2 bounds the steps of one match, which nobody can read; of all together, the time is.
  constexpr int kClockEvery = 64;
  for (int matches = 0; start <= text.size(); ++matches) {
    if (matches % kClockEvery == 0) {
      budget.step(kClockEvery);
      budget.check_time();
    }
    int found = pcre2_match(code, subject, text.size(), start, PCRE2_NO_UTF_CHECK, data.get(),
                            context.get());
    if (found == PCRE2_ERROR_JIT_STACKLIMIT && !context) {
      context.reset(pcre2_match_context_create(nullptr));
      stack.reset(pcre2_jit_stack_create(32 << 10, kJitStackBytes, nullptr));
      pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
      continue;
    }
    if (found == PCRE2_ERROR_NOMATCH) {
      break;
    }
    if (found < 0) {
      throw Error("M115", fmt::format("the regular expression of {} gives up on a text of {} bytes",
                                      where_, text.size()))
          .hint("the text may hold one very long run of the same kind of character; cut it");
    }
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data.get());
    const size_t begin = ends[0], end = ends[1];
    if (begin == end && any && end == previous) {  // an empty match right behind the last one
      start += start < text.size() ? decode_utf8(text.data() + start).size : 1;
      continue;
    }
    if (previous != begin) {
      add(previous, begin, false);
    }
    add(begin, end, true);
    previous = start = end;
    any = true;
  }
  if (previous != text.size()) {
    add(previous, text.size(), false);
  }
}

}  // namespace sft
