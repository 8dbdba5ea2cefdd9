#include "train/run_state.h"

#include <fmt/format.h>

#include "core/contained.h"
#include "core/error.h"
#include "core/numbers.h"

namespace sft {
namespace {

enum class Kind { count, real, flag, name };

struct Field {
  const char* section;  // "" is the state itself
  const char* name;
  Kind kind;
};

constexpr Field kFields[] = {{"", "step", Kind::count},
                             {"", "run", Kind::name},
                             {"", "updates", Kind::count},
                             {"", "scheduled", Kind::count},
                             {"", "num_tokens", Kind::count},
                             {"", "input_tokens", Kind::count},
                             {"", "flos", Kind::real},
                             {"", "total_loss", Kind::real},
                             {"", "losses", Kind::count},
                             {"", "skipped", Kind::count},
                             {"", "skipped_in_a_row", Kind::count},
                             {"", "grad_norm", Kind::real},
                             {"", "learning_rate", Kind::real},
                             {"", "best_step", Kind::count},
                             {"", "best_metric", Kind::real},
                             {"", "evaluation_left", Kind::flag},
                             {"", "rows_done", Kind::count},
                             {"", "total_steps", Kind::count},
                             {"identity", "steps", Kind::count},
                             {"identity", "rows of a step", Kind::count},
                             {"interval", "loss", Kind::real},
                             {"interval", "accuracy", Kind::real},
                             {"interval", "entropy", Kind::real},
                             {"interval", "steps", Kind::count},
                             {"interval", "batches", Kind::count},
                             {"interval", "tokens", Kind::count},
                             {"scaler", "scale", Kind::real},
                             {"scaler", "growth_tracker", Kind::count},
                             {"by_metric", "learning_rate", Kind::real},
                             {"by_metric", "best", Kind::real},
                             {"by_metric", "bad_evaluations", Kind::count},
                             {"by_metric", "cooldown_left", Kind::count},
                             {"by_metric", "bad", Kind::count},
                             {"by_metric", "good", Kind::count},
                             {"by_metric", "warmup_left", Kind::count},
                             {"by_metric", "sum", Kind::real}};

constexpr int64_t kMost = int64_t{1} << 53;

bool fits(const Json& value, Kind kind) {
  switch (kind) {
    case Kind::count:
      return json_whole(value, 0, kMost).has_value();
    case Kind::real:
      return json_real(value, -1e300, 1e300).has_value();
    case Kind::flag:
      return value.is_boolean();
    case Kind::name:
      return value.is_string() && is_file_name(value.get_ref<const std::string&>());
  }
  return false;
}

std::string wanted(Kind kind) {
  return kind == Kind::count  ? fmt::format("a whole number from 0 to {}", kMost)
         : kind == Kind::real ? "a finite number"
         : kind == Kind::name ? "a name, and no path"
                              : "true or false";
}

}  // namespace

void check_run_state(const Json& state, const std::string& file) {
  for (const Field& field : kFields) {
    const std::string section = field.section;
    if (!section.empty() && (!state.contains(section) || !state[section].is_object())) {
      continue;
    }
    const Json& part = section.empty() ? state : state[section];
    if (!part.contains(field.name) || part[field.name].is_null()) {
      continue;  // whoever needs it says so
    }
    if (!fits(part[field.name], field.kind)) {
      throw Error("M264", fmt::format("{}: \"{}{}{}\" is {}, it must be {}", file, section,
                                      section.empty() ? "" : ".", field.name,
                                      to_text(part[field.name]).substr(0, 60), wanted(field.kind)))
          .hint("the checkpoint is damaged; resume from an earlier one");
    }
  }
}

}  // namespace sft
