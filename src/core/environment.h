// The variables of a process's environment, handed down by the command line, which alone reads
// them. A default one is empty: what is not handed down cannot change what a run or a test does.
#pragma once

#include <map>
#include <string>

namespace sft {

class Environment {
 public:
  Environment() = default;
  explicit Environment(std::map<std::string, std::string> variables)
      : variables_(std::move(variables)) {}

  // Null where it is not set.
  const char* operator()(const char* name) const {
    const auto found = variables_.find(name);
    return found == variables_.end() ? nullptr : found->second.c_str();
  }
  // "" where it is not set.
  std::string value(const char* name) const {
    const char* found = (*this)(name);
    return found == nullptr ? "" : found;
  }
  const std::map<std::string, std::string>& all() const { return variables_; }

 private:
  std::map<std::string, std::string> variables_;
};

}  // namespace sft
