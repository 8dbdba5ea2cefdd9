#include "text/find_all.h"

#include <fmt/format.h>

#include <functional>
#include <memory>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "core/error.h"

namespace sft {

namespace {

constexpr uint32_t kMostSteps = 10'000'000;

// Calls `found` with the ends of each match and of its groups.
void for_each_match(std::string_view text, std::string_view expression,
                    const std::function<void(const PCRE2_SIZE* ends, uint32_t groups)>& found) {
  int error = 0;
  PCRE2_SIZE at = 0;
  const std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &at, nullptr),
      pcre2_code_free);
  if (!code) {
    PCRE2_UCHAR words[256] = {};
    pcre2_get_error_message(error, words, sizeof(words));
    throw Error("C190",
                fmt::format("the regular expression {} does not compile at character {}: {}",
                            expression, at, reinterpret_cast<const char*>(words)))
        .hint("write it as Python's re takes it");
  }
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(
      pcre2_match_data_create_from_pattern(code.get(), nullptr), pcre2_match_data_free);
  const std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> context(
      pcre2_match_context_create(nullptr), pcre2_match_context_free);
  pcre2_set_match_limit(context.get(), kMostSteps);
  uint32_t groups = 0;
  pcre2_pattern_info(code.get(), PCRE2_INFO_CAPTURECOUNT, &groups);
  uint32_t options = 0;  // after an empty match the next may not be empty at the same place
  for (PCRE2_SIZE begin = 0; begin <= text.size();) {
    const int result = pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()),
                                   text.size(), begin, options, data.get(), context.get());
    if (result == PCRE2_ERROR_NOMATCH && options == 0) {
      return;
    }
    if (result == PCRE2_ERROR_NOMATCH) {
      options = 0;
      do {
        ++begin;
      } while (begin < text.size() && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80);
      continue;
    }
    if (result < 0) {
      throw Error("C190", fmt::format("the regular expression {} takes too many steps", expression))
          .hint("write one without nested repetitions");
    }
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data.get());
    found(ends, groups);
    begin = ends[1];
    options = ends[0] == ends[1] ? PCRE2_NOTEMPTY_ATSTART | PCRE2_ANCHORED : 0;
  }
}

}  // namespace

std::vector<std::optional<std::string>> find_all(std::string_view text,
                                                 std::string_view expression) {
  std::vector<std::optional<std::string>> out;
  for_each_match(text, expression, [&](const PCRE2_SIZE* ends, uint32_t groups) {
    const auto part = [&](uint32_t group) {
      return ends[2 * group] == PCRE2_UNSET
                 ? std::string()
                 : std::string(text.substr(ends[2 * group], ends[2 * group + 1] - ends[2 * group]));
    };
    if (groups < 2) {
      out.emplace_back(part(groups));
      return;
    }
    std::optional<std::string> first;
    for (uint32_t group = 1; group <= groups && !first; ++group) {
      if (std::string text_of = part(group); !text_of.empty()) {
        first = std::move(text_of);
      }
    }
    out.push_back(std::move(first));
  });
  return out;
}

std::string without_matches(std::string_view text, std::string_view expression) {
  std::string out;
  PCRE2_SIZE kept = 0;
  for_each_match(text, expression, [&](const PCRE2_SIZE* ends, uint32_t) {
    out += text.substr(kept, ends[0] - kept);
    kept = ends[1];
  });
  return out + std::string(text.substr(kept));
}

}  // namespace sft
