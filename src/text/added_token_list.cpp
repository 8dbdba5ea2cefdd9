#include "text/added_token_list.h"

#include <fmt/format.h>
#include <simdjson.h>

#include "core/error.h"
#include "core/json.h"

namespace sft {

namespace {

// Where the list stands in the text, from its [ up to behind its ]; empty where there is none.
struct ListRange {
  size_t begin = 0, end = 0;
};

ListRange find_list(std::string_view text, const std::string& name) {
  const simdjson::padded_string padded(text);
  simdjson::ondemand::parser parser;
  try {
    simdjson::ondemand::document document = parser.iterate(padded);
    for (auto field : document.get_object()) {
      if (field.unescaped_key().value() == "added_tokens") {
        const std::string_view list = field.value().get_array().value().raw_json().value();
        const auto begin = static_cast<size_t>(list.data() - padded.data());
        return {begin, begin + list.find_last_of(']') + 1};
      }
    }
  } catch (const simdjson::simdjson_error& e) {
    throw Error("M110",
                fmt::format("{} has no list of added tokens that can be read: {}", name, e.what()))
        .at(name)
        .hint("fetch the file again");
  }
  return {};
}

}  // namespace

Json added_token_list(std::string_view tokenizer_json, const std::string& name) {
  const ListRange place = find_list(tokenizer_json, name);
  return place.end == 0
             ? Json::array()
             : parse_json(tokenizer_json.substr(place.begin, place.end - place.begin), name);
}

std::string with_added_tokens(std::string_view tokenizer_json, const Json& more,
                              const std::string& name) {
  std::string out(tokenizer_json);
  if (more.empty()) {
    return out;
  }
  const ListRange place = find_list(tokenizer_json, name);
  std::string items;
  for (const Json& item : more) {
    items += (items.empty() ? "\n    " : ",\n    ") + to_text(item);
  }
  if (place.end == 0) {
    return out.insert(out.find('{') + 1, fmt::format("\n  \"added_tokens\": [{}\n  ],", items));
  }
  const size_t last = out.find_last_not_of(" \t\r\n", place.end - 2);  // before the ]
  return out.insert(last + 1, (out[last] == '[' ? "" : ",") + items);
}

}  // namespace sft
