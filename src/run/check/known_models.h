// The names that readers of model folders know. Used by `sft check`; a name that is not here is not
// called wrong, unless it is a slip away from one that is.
#pragma once

#include <string>

namespace sft {

struct KnownModel {
  const char* model_type;
  const char* architecture;
};

// Null where there is none.
const KnownModel* known_by_type(const std::string& model_type);
const KnownModel* known_by_architecture(const std::string& architecture);
// The name that was meant: one a slip away; "" for one that is known or like none.
std::string meant_type(const std::string& model_type);
std::string meant_architecture(const std::string& architecture);

// Whether transformers 4 has a tokenizer of this class.
bool knows_tokenizer_class(const std::string& name);

}  // namespace sft
