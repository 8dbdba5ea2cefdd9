#include "text/post_processor.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/json.h"
#include "core/numbers.h"
#include "text/json_fields.h"
#include "text/unicode.h"

namespace sft {
namespace {

constexpr uint32_t kSpelledSpace = 0x120;  // how the byte-level alphabet writes a space

bool is_space(uint32_t code) {
  return code == kSpelledSpace || (char_classes()[code] & kSpace) != 0;
}

int32_t token_id(const Json& pair, const std::string& where) {
  const auto id =
      pair.is_array() && pair.size() == 2 ? json_whole(pair[1], 0, kMostCount) : std::nullopt;
  if (!id) {
    throw Error("M100", "a special token of the post-processor is not a [text, id] pair").at(where);
  }
  return static_cast<int32_t>(*id);
}

}  // namespace

PostProcessor::PostProcessor(const Json& json, const std::string& where) {
  if (!json.is_null()) {
    add(json, where);
  }
}

void PostProcessor::add(const Json& json, const std::string& where) {
  const std::string type = component_type(json, where);
  if (type == "Sequence") {
    for (const Json& part : required_list(json, "processors", where)) {
      add(part, where);
    }
    if (std::count_if(steps_.begin(), steps_.end(), [](const Step& s) { return !s.trims; }) > 1) {
      throw Error("M104", "two post-processors that add special tokens are not supported")
          .at(where)
          .hint(
              "the library takes the first one's tokens for a second text; leave one of them out");
    }
    return;
  }
  if (type == "TemplateProcessing") {
    add_template(json, where);
    return;
  }
  const bool is_roberta = type == "RobertaProcessing";
  if (type == "ByteLevel" || is_roberta) {
    if (bool_field(json, "trim_offsets", true, where)) {
      Step trim;
      trim.trims = true;
      trim.keeps_first_space = bool_field(json, "add_prefix_space", true, where);
      steps_.push_back(trim);
    }
  }
  if (type == "BertProcessing" || is_roberta) {
    Step step;
    step.layout = {token_id(required_field(json, "cls", where), where), kText,
                   token_id(required_field(json, "sep", where), where)};
    steps_.push_back(step);
  } else if (type != "ByteLevel") {
    throw Error("M104", fmt::format("the post-processor \"{}\" is not supported", type))
        .at(where)
        .hint("supported: TemplateProcessing ByteLevel BertProcessing RobertaProcessing Sequence");
  }
}

void PostProcessor::add_template(const Json& json, const std::string& where) {
  Step step;
  for (const Json& piece : required_list(json, "single", where)) {
    if (piece.is_object() && piece.contains("Sequence")) {
      step.layout.push_back(kText);
      continue;
    }
    const Json& special = required_field(piece, "SpecialToken", where);
    const std::string name = string_field(special, "id", "", where);
    const Json& known = required_field(json, "special_tokens", where);
    for (const Json& id : required_list(required_field(known, name, where), "ids", where)) {
      const auto number = json_whole(id, 0, kMostCount);
      if (!number) {
        throw Error("M100", fmt::format("the ids of \"{}\" are not numbers of tokens", name))
            .at(where);
      }
      step.layout.push_back(static_cast<int32_t>(*number));
    }
  }
  steps_.push_back(step);
}

Span trim_span(std::string_view text, std::string_view token, Span span, bool is_first,
               bool keeps_first_space) {
  size_t leading = 0, trailing = 0;
  for (size_t i = 0; i < token.size(); ++leading) {
    const DecodedChar c = decode_utf8(token.data() + i);
    if (!is_space(c.code)) {
      break;
    }
    i += c.size;
  }
  for (size_t end = token.size(); end > 0; ++trailing) {
    const DecodedChar c = decode_utf8_before(token, end);
    if (!is_space(c.code)) {
      break;
    }
    end -= c.size;
  }
  if (is_first && keeps_first_space && leading == 1) {
    leading = 0;  // the one that was added; more than one were there before
  }
  for (; leading > 0 && span.begin < span.end; --leading) {
    span.begin += decode_utf8(text.data() + span.begin).size;
  }
  uint32_t end = span.end;
  for (; trailing > 0 && end > 0; --trailing) {
    end -= decode_utf8_before(text, end).size;
  }
  if (trailing == 0) {
    span.end = std::max(end, span.begin);
  }
  return span;
}

}  // namespace sft
