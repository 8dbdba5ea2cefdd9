#include "core/json_text.h"

#include <unordered_map>
#include <utility>
#include <vector>

#include "core/json.h"

namespace sft {

namespace {

// Builds the value that the library's parser reports piece by piece.
class Builder {
 public:
  Json take() { return std::move(root_); }

  bool null() { return put(nullptr); }
  bool boolean(bool value) { return put(value); }
  bool number_integer(int64_t value) { return put(value); }
  bool number_unsigned(uint64_t value) { return put(value); }
  bool number_float(double value, const std::string&) { return put(value); }
  bool string(std::string& value) { return put(std::move(value)); }
  bool binary(Json::binary_t& value) { return put(Json::binary(std::move(value))); }
  bool start_object(size_t) { return open(Json::object()); }
  bool start_array(size_t) { return open(Json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  // A key that comes again keeps its place and takes the last value, as in the library.
  bool key(std::string& name) {
    Level& level = levels_.back();
    auto& members = level.value->get_ref<Json::object_t&>();
    constexpr size_t kFew = 32;
    if (members.size() < kFew) {
      level.member = &members[name];
      return true;
    }
    if (level.index.empty()) {
      for (size_t i = 0; i < members.size(); ++i) {
        level.index.emplace((members.begin() + static_cast<std::ptrdiff_t>(i))->first, i);
      }
    }
    const auto [found, fresh] = level.index.emplace(name, members.size());
    if (fresh) {
      static_cast<Json::object_t::Container&>(members).emplace_back(std::move(name), nullptr);
    }
    level.member = &(members.begin() + static_cast<std::ptrdiff_t>(found->second))->second;
    return true;
  }

  template <class Failure>
  bool parse_error(size_t, const std::string&, const Failure& failure) {
    throw failure;
  }

 private:
  struct Level {
    Json* value;
    Json* member = nullptr;                           // of an object, the value of the last key
    std::unordered_map<std::string, size_t> index{};  // of a large object's keys
  };

  Json* place(Json value) {
    if (levels_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Level& level = levels_.back();
    if (level.value->is_array()) {
      level.value->push_back(std::move(value));
      return &level.value->back();
    }
    *level.member = std::move(value);
    return level.member;
  }
  bool put(Json value) {
    place(std::move(value));
    return true;
  }
  bool open(Json value) {
    levels_.push_back({place(std::move(value))});
    return true;
  }
  bool close() {
    levels_.pop_back();
    return true;
  }

  Json root_;
  std::vector<Level> levels_;
};

}  // namespace

Json parse_linear(std::string_view text) {
  Builder builder;
  Json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

size_t end_of_string(std::string_view text, size_t begin) {
  size_t i = begin + 1;
  while (i < text.size() && text[i] != '"') {
    i += text[i] == '\\' ? 2 : 1;
  }
  return std::min(i, text.size());
}

bool too_deep(std::string_view text) {
  int depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') {
      i = end_of_string(text, i);
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxJsonDepth) {
        return true;
      }
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

Json json_of(std::string_view text) {
  if (too_deep(text)) {
    return Json(Json::value_t::discarded);
  }
  try {
    return parse_linear(text);
  } catch (const Json::exception&) {
    return Json(Json::value_t::discarded);
  }
}

}  // namespace sft
