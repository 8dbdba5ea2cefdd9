// A Python regular expression that must match a whole name, as PEFT's options use them.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace sft {

class FullMatch {
 public:
  // C190 (naming `option`) when the expression does not compile.
  FullMatch(std::string_view expression, std::string_view option);
  FullMatch(FullMatch&&) noexcept;
  FullMatch& operator=(FullMatch&&) noexcept;
  ~FullMatch();

  // C190 when matching takes too many steps.
  bool operator()(std::string_view name) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace sft
