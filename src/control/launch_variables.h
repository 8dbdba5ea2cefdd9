// A launcher's variables, read as what they should be. Used by the parts of resolve_launch only.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>

#include "control/launch_environment.h"

namespace sft {

constexpr int kMaxWorld = 1 << 20;

class LaunchVariables {
 public:
  explicit LaunchVariables(const LaunchInputs& inputs) : inputs_(inputs) {}

  // Set, and not empty or blank.
  bool has(const char* name) const { return !text(name).empty(); }
  // Without blanks at its ends: YAML and shells leave them there.
  std::string text(const char* name) const;
  // Nothing where it is not set; C130 where it is no number from `low` to `high`.
  std::optional<int> number(const char* name, int low, int high) const;
  int count(const char* name) const { return number(name, 0, kMaxWorld).value_or(0); }
  std::optional<int> port(const char* name) const { return number(name, 1, 65535); }
  // A host's name or address, without an IPv6 address's brackets; C130 for what cannot be one.
  std::string host(const char* name) const;
  // The number that a variable would give which nobody must have set rightly; 0 for anything else.
  long hint(const char* name) const;
  // C131 unless all are set.
  void require(const char* source, std::initializer_list<const char*> names) const;

  const LaunchInputs& inputs() const { return inputs_; }

 private:
  const LaunchInputs& inputs_;
};

// `text`, the value of `name`, as number() and host() read it.
int launch_number(const std::string& name, const std::string& text, int low, int high);
std::string launch_host(const std::string& name, const std::string& text);

// Kubeflow's variables, which speak of a pod: this process is to start the ranks there.
LaunchEnvironment node_environment(const LaunchVariables& variables);
// Where a scheduler has set machines aside and nothing has started ranks on them: a sentence that
// says so. Nothing where one process is all there is to be.
std::string allocation_note(const LaunchVariables& variables);
// SLURM_TASKS_PER_NODE, "8(x2),4": how many tasks node number `node` has.
int slurm_tasks(const std::string& text, int node);

}  // namespace sft
