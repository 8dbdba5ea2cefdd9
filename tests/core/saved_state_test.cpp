// A member that is listed is written, read, and refused when it is missing or of another kind; one
// that is not listed is neither written nor accepted.
#include "core/saved_state.h"

#include <gtest/gtest.h>

#include <limits>

#include "core/error.h"

namespace sft {
namespace {

struct Nested {
  int64_t row = 0;
  bool operator==(const Nested&) const = default;
  void visit(StateTable& v) { v("row", &row); }
};

struct Everything {
  bool flag = false;
  int64_t count = 0;
  double real = 0;
  std::string text{};
  std::vector<double> list{};
  std::optional<double> maybe{};
  Nested place{};
  std::optional<Nested> last{};
  double best = std::numeric_limits<double>::infinity();
  std::optional<Nested> by_option{};  // there or not as the options have it

  bool operator==(const Everything&) const = default;
  void visit(StateTable& v) {
    v("flag", &flag);
    v("count", &count);
    v("real", &real);
    v("text", &text);
    v("list", &list);
    v("maybe", &maybe);
    v("place", &place);
    v("last", &last);
    v("best", &best).or_none();
    v.if_there("by_option", by_option ? &*by_option : nullptr);
  }
};

Everything something() {
  return {true, 3, 0.1, "a", {1, 2.5}, 7.0, {4}, Nested{5}, 0.25, Nested{6}};
}

// "" where it is taken; else the error's code, and what it says of `field` in it.
std::string refused(const Json& json, const std::string& field) {
  Everything state{.by_option = Nested{}};
  try {
    read_state(state, json, {"file.json"});
    return "";
  } catch (const Error& error) {
    EXPECT_NE(error.message().find("file.json"), std::string::npos) << error.message();
    EXPECT_NE(error.message().find("\"" + field + "\""), std::string::npos) << error.message();
    return std::string(error.code().text());
  }
}

TEST(SavedState, WhatIsWrittenIsReadAgain) {
  for (const Everything& saved : {something(), Everything{}, Everything{.maybe = -0.0}}) {
    Everything read{.list = {9}, .maybe = 9, .last = Nested{9}, .by_option = saved.by_option};
    read_state(read, write_state(saved), {"file.json"});
    EXPECT_EQ(read, saved);
  }
  EXPECT_EQ(to_text(write_state(Everything{})),
            R"({"flag":false,"count":0,"real":0.0,"text":"","list":[],"maybe":null,)"
            R"("place":{"row":0},"last":null,"best":null,"by_option":null})");
}

// Field by field, so that one which is added to the struct and its list is tried too.
TEST(SavedState, EveryFieldIsNeededAndOfItsKind) {
  const Json sound = write_state(something());
  EXPECT_EQ(refused(sound, ""), "");
  for (const auto& [name, value] : sound.items()) {
    Json state = sound;
    state.erase(name);
    EXPECT_EQ(refused(state, name), "M268") << name << " is missing";
    for (const Json& other : {Json(true), Json(1.5), Json("x"), Json::array({"x"}), Json(-1),
                              Json({{"x", 1}}), Json(1e301), Json(UINT64_MAX)}) {
      const bool fits = (name == "flag" && other.is_boolean()) ||
                        (name == "text" && other.is_string()) ||
                        ((name == "real" || name == "maybe" || name == "best") &&
                         other.is_number() && other.get<double>() < 1e300);
      state[name] = other;
      const std::string field = name == "list" && other.is_array()         ? "list.0"
                                : name == "place" && other.is_object()     ? "place.row"
                                : name == "last" && other.is_object()      ? "last.row"
                                : name == "by_option" && other.is_object() ? "by_option.row"
                                                                           : name;
      EXPECT_EQ(refused(state, field), fits ? "" : "M268") << name << " is " << to_text(other);
    }
  }
}

TEST(SavedState, WhatIsNotListedIsRefused) {
  Json state = write_state(something());
  state["more"] = 1;
  EXPECT_EQ(refused(state, "more"), "M268");
  state.erase("more");
  state["place"]["more"] = 1;
  EXPECT_EQ(refused(state, "place.more"), "M268");
  Everything read;
  EXPECT_NO_THROW(
      read_state(read, write_state(something()), {"file.json"}));  // by_option is not asked for
  EXPECT_FALSE(read.by_option);
}

TEST(SavedState, AFieldIsListedOnce) {
  struct Twice {
    int64_t a = 0, b = 0;
    void visit(StateTable& v) { v("a", &a), v("a", &b); }
  };
  EXPECT_THROW(write_state(Twice{}), std::logic_error);
}

}  // namespace
}  // namespace sft
