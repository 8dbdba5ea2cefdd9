// A Jinja template as lm-evaluation-harness renders its tasks' texts: white space stays, and a
// variable that is not there is an error. Used by `sft eval`.
#pragma once

#include <memory>
#include <string>

#include "core/json.h"

namespace sft {

namespace jinja {
struct Template;
}

class TextTemplate {
 public:
  // `name`: where it stands, for errors. M150, M155 as for chat templates.
  TextTemplate(const std::string& source, std::string name);

  // `variables`: an object. D085 for one that is read and not there; M152 to M161 where the
  // template fails.
  std::string render(const Json& variables) const;

 private:
  std::shared_ptr<const jinja::Template> parsed_;
  std::string name_;
  bool asks_itself_;  // it tells by itself what is not there
};

// What Python's literal_eval makes of a text, for lists, texts, numbers and the like: "['a', 1]".
// M150 for anything else.
Json python_literal(const std::string& text);

}  // namespace sft
