// The values a chat template works on: Python's None, bool, int, float, str, list, tuple, dict and
// Jinja's own objects (undefined, namespace, loop, macro, ...). Used by the interpreter only.
//
// A Value is 16 bytes and shares its object by a plain (not atomic) count: a value belongs to one
// rendering and its thread. Constants of a parsed template are "immortal": never counted, so many
// threads may render the same template. Lists, tuples and dicts never change once built.
//
// What an object takes is held in the rendering's budget from `adopt` on until it is freed. Whoever
// builds one asks for `room` first.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/budget.h"
#include "core/json_fwd.h"

namespace sft::jinja {

enum class Kind : uint8_t {
  missing,  // a variable never assigned; reading it gives `undefined`
  undefined,
  none,
  boolean,
  integer,
  real,
  string,
  huge,  // an integer beyond 64 bits, as its digits: it can be printed, and not computed with
  list,
  tuple,
  dict,
  range,
  view,       // dict.keys(), .values(), .items()
  generator,  // what map, select, items, ... give: can be walked once, has no length
  name_space,
  function,
  method,
  macro,
  loop,
  cycler,
  joiner,
};

struct Object {
  uint32_t refs = 0;
  bool immortal = false;
  bool given = false;  // came with the data: what it takes is not the template's doing
  uint16_t depth = 1;  // nesting of containers, bounded so that no recursion runs out of stack
  Held held;
  virtual ~Object() = default;
};

// What to_vector and the filters give: values whose room is held as they are added.
struct Elements;

struct String;
struct List;
struct Dict;
struct Undefined;

class Value {
 public:
  Value() : kind_(Kind::missing), integer_(0) {}
  Value(const Value& other) : kind_(other.kind_), integer_(other.integer_) { retain(); }
  Value(Value&& other) noexcept : kind_(other.kind_), integer_(other.integer_) {
    other.kind_ = Kind::missing;
  }
  Value& operator=(Value other) noexcept {
    std::swap(kind_, other.kind_);
    std::swap(integer_, other.integer_);
    return *this;
  }
  ~Value() { release(); }

  static Value none() { return Value(Kind::none); }
  static Value boolean(bool b);
  static Value integer(int64_t i);
  static Value real(double d);
  static Value string(std::string text);
  static Value markup(std::string text);
  // Text that outlives the rendering (a literal, a string inside the caller's JSON): not copied.
  static Value borrowed(std::string_view text);
  static Value huge(std::string digits);
  static Value list(std::vector<Value> items);   // M154 when nested too deep
  static Value tuple(std::vector<Value> items);  // M154 when nested too deep
  // `source` is what the elements will come from (it bounds how deep generators nest).
  static Value generator(const Value& source, std::function<Elements()> make);
  static Value undefined(std::string hint, bool unsafe = false);
  static Value undefined_name(std::string_view name);
  static Value undefined_attribute(const Value& owner, const Value& name);
  static Value object(Kind kind, Object* object) { return Value(kind, object); }
  // Strings are borrowed from `json`, which must outlive the value. M154 nested too deep, M160 for
  // an integer beyond 64 bits.
  static Value from_json(const Json& json);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_undefined() const { return kind_ == Kind::undefined || kind_ == Kind::missing; }
  bool is_number() const { return kind_ >= Kind::boolean && kind_ <= Kind::real; }
  bool is_integral() const { return kind_ == Kind::boolean || kind_ == Kind::integer; }
  bool is_object() const { return kind_ >= Kind::string || (kind_ == Kind::undefined && object_); }

  bool as_bool() const { return integer_ != 0; }
  int64_t as_integer() const { return integer_; }  // of an integer or a boolean
  double as_real() const { return kind_ == Kind::real ? real_ : static_cast<double>(integer_); }
  std::string_view text() const;  // of a string; the digits of a huge integer
  bool is_markup() const;
  const std::vector<Value>& items() const;  // of a list or a tuple
  const Dict& dict() const;
  template <typename T>
  T& get() const {
    return *static_cast<T*>(object_);
  }
  Object* object() const { return object_; }

 private:
  explicit Value(Kind kind) : kind_(kind), integer_(0) {}
  Value(Kind kind, Object* object) : kind_(kind), object_(object) { retain(); }
  bool counted() const { return is_object() && !object_->immortal; }
  void retain() {
    if (counted()) {
      ++object_->refs;
    }
  }
  void release() {
    if (counted() && --object_->refs == 0) {
      delete object_;
    }
  }

  Kind kind_;
  union {
    int64_t integer_;
    double real_;
    Object* object_;
  };
};

// Holds what `value` and all that it consists of take, where that is not yet held.
void adopt_new(Budget& budget, const Value& value);
inline void adopt(Budget& budget, const Value& value) {
  if (value.is_object()) {
    const Object& object = *value.object();
    if (!object.immortal && !object.given && !object.held) {
      adopt_new(budget, value);
    }
  }
}

// Steps that making and freeing an object takes. Lists and dicts are charged as they are adopted,
// texts by the operator that makes them; a call is charged for what it gives by itself.
inline constexpr int64_t kObject = 10;
inline constexpr int64_t kDictEntry = 128;  // what one more entry of a dict takes, with its index

struct Elements : std::vector<Value> {
  Held held;

  // The vector doubles as it grows, hence two slots for each value.
  void add(Budget& budget, Value value) {
    budget.step(kObject);
    held.more(budget, 2 * sizeof(Value));
    adopt(budget, value);
    push_back(std::move(value));
  }
};

struct String : Object {
  std::string own;
  std::string_view text;
  bool markup = false;  // the product of |safe or |escape: escapes what is added to it
};

struct List : Object {
  std::vector<Value> items;
  bool group = false;  // a tuple of |groupby, whose parts are also .grouper and .list
};

// Keys in the order of insertion. `set` only while it is being built (or inside a namespace).
struct Dict : Object {
  std::vector<std::pair<Value, Value>> items;

  const Value* find(std::string_view key) const;
  const Value* find(const Value& key, Budget& budget) const;  // M153 when it cannot be hashed
  void set(std::string_view key, Value value);                // the key outlives the rendering
  void set(const Value& key, Value value, Budget& budget);
  void add(Value key, Value value) { items.emplace_back(std::move(key), std::move(value)); }
  Value finish();  // wraps a newly built dict; M154 when nested too deep

 private:
  mutable std::unordered_map<std::string_view, uint32_t> index_;  // only for large dicts
};

struct Undefined : Object {
  std::string hint;
  Value owner_type, name;
  bool unsafe = false;
  std::string message() const;
};

struct Range : Object {
  int64_t start = 0, stop = 0, step = 1;
  int64_t size() const;
};

enum class ViewOf : uint8_t { keys, values, items };
struct View : Object {
  Value dict;
  ViewOf of = ViewOf::keys;
};

// Computed when first asked for an element, as Python's generators are: one that nobody walks
// cannot fail.
struct Generator : Object {
  std::function<Elements()> make;  // empty once it has run
  Elements items;
  size_t next = 0;
  void start();
  bool take(Value& element);  // the next element; false at the end
};

struct Namespace : Object {
  Dict attributes;
};

struct Cycler : Object {
  std::vector<Value> items;
  size_t position = 0;
};

struct Joiner : Object {
  Value separator;
  bool used = false;
};

// Python's name of the value's type ("str", "dict", "NoneType").
std::string_view type_name(const Value& value);

inline Value Value::boolean(bool b) {
  Value v(Kind::boolean);
  v.integer_ = b ? 1 : 0;
  return v;
}
inline Value Value::integer(int64_t i) {
  Value v(Kind::integer);
  v.integer_ = i;
  return v;
}
inline Value Value::real(double d) {
  Value v(Kind::real);
  v.real_ = d;
  return v;
}
inline std::string_view Value::text() const { return static_cast<String*>(object_)->text; }
inline bool Value::is_markup() const {
  return kind_ == Kind::string && static_cast<String*>(object_)->markup;
}
inline const std::vector<Value>& Value::items() const { return static_cast<List*>(object_)->items; }
inline const Dict& Value::dict() const { return *static_cast<Dict*>(object_); }

}  // namespace sft::jinja
