// State that is saved and read again: a struct lists each of its members once in
// `void visit(StateTable& v)`, as options are listed. Writing, reading and checking walk that one
// list, so that nothing is saved that is not read back, or read that is not saved. Used for what a
// checkpoint holds beside tensors, from data to the trainer.
//
//   struct Progress {
//     int64_t step = 0;
//     double loss = 0;
//     void visit(StateTable& v) { v("step", &step), v("loss", &loss); }
//   };
//   const Json json = write_state(progress);     // {"step": 3, "loss": 0.5}
//   read_state(progress, json, {file});          // M268 for what is missing, of another kind, or
//   not listed
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/error.h"
#include "core/json.h"

namespace sft {

class StateTable;

template <class T>
concept HasState = requires(T& part, StateTable& v) { part.visit(v); };

// A member with members of its own.
struct NestedState {
  bool there = true;  // else it is written as null
  std::function<void()>
      make;  // before it is read; empty: where it is not there, what is saved of it is not read
  std::function<void()> drop;  // where null is read; empty: it stays as it is
  std::function<void(StateTable& v)> visit;
};

// Where a member lives. A number without a fraction is a count, from 0 to 2^53; a real number is
// finite; Json is taken as it is.
using StateTarget = std::variant<bool*, int64_t*, std::optional<int64_t>*, double*,
                                 std::optional<double>*, std::string*, std::optional<std::string>*,
                                 std::vector<double>*, Json*, NestedState>;

struct StateField {
  std::string key;
  StateTarget target;
  int64_t least = 0;
  bool none = false, missing = false, name = false;

  StateField& at_least(int64_t value);
  // A real number that may be infinite or none: that is written as null, and null leaves the
  // member as it is.
  StateField& or_none();
  // A text that is to be the name of a file, and no path.
  StateField& is_name();
  // Other programs' files may leave it out or say null: the member stays as it is.
  StateField& may_be_missing();
};

// The list that `visit` fills. Points into the visited struct.
class StateTable {
 public:
  StateField& operator()(std::string name, StateTarget target);
  template <HasState Part>
  StateField& operator()(std::string name, Part* part) {
    return (*this)(std::move(name),
                   NestedState{true, [] {}, {}, [part](StateTable& v) { part->visit(v); }});
  }
  template <HasState Part>
  StateField& operator()(std::string name, std::optional<Part>* part) {
    return (*this)(std::move(name), NestedState{part->has_value(), [part] { part->emplace(); },
                                                [part] { part->reset(); },
                                                [part](StateTable& v) { (*part)->visit(v); }});
  }
  // What some runs have and others not, by their options (null): what a checkpoint has of it
  // is read by those that have it.
  template <HasState Part>
  StateField& if_there(std::string name, Part* part) {
    return (*this)(std::move(name),
                   NestedState{part != nullptr, {}, {}, [part](StateTable& v) { part->visit(v); }});
  }

  const std::vector<StateField>& fields() const { return fields_; }

 private:
  std::vector<StateField> fields_;
};

// Where saved state comes from, and the error for what is wrong with it.
struct StateOrigin {
  std::string file;
  Code code = "M268";
  const char* hint = "the checkpoint is damaged; resume from an earlier one";
  bool others = false;  // keys that are not listed are another program's
};

Json write_state(const StateTable& table);
void read_state(const StateTable& table, const Json& json, const StateOrigin& origin);

template <HasState State>
Json write_state(const State& state) {
  StateTable table;
  const_cast<State&>(state).visit(table);  // one list for both ways; here it is only read
  return write_state(table);
}

template <HasState State>
void read_state(State& state, const Json& json, const StateOrigin& origin) {
  StateTable table;
  state.visit(table);
  read_state(table, json, origin);
}

}  // namespace sft
