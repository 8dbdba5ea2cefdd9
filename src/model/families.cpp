#include "model/families.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "core/strings.h"

namespace sft {

const std::vector<Family>& all_families() {
#define SFT_MAKE_FAMILY(name) name##_family(),
  static const std::vector<Family> table{SFT_FAMILIES(SFT_MAKE_FAMILY)};
#undef SFT_MAKE_FAMILY
  return table;
}

std::vector<std::string> supported_architectures() {
  std::vector<std::string> names;
  for (const Family& family : all_families()) {
    names.emplace_back(family.architecture);
  }
  return names;
}

const Family& find_family(const Json& config) {
  std::string name;
  if (config.contains("architectures") && config["architectures"].is_array() &&
      !config["architectures"].empty() && config["architectures"][0].is_string()) {
    name = config["architectures"][0];
  }
  const std::string type = config.value("model_type", "");
  for (const Family& family : all_families()) {
    if (name.empty() ? type == family.model_type : name == family.architecture) {
      return family;
    }
  }
  const std::vector<std::string> supported = supported_architectures();
  std::vector<std::string> types;
  for (const Family& family : all_families()) {
    types.emplace_back(family.model_type);
  }
  const std::string near = nearest(type, types);
  throw Error("M031",
              fmt::format("the architecture {} (model_type \"{}\") is not supported",
                          name.empty() ? "of this model" : name.substr(0, 80), type.substr(0, 80)))
      .hint(fmt::format("supported are {}{}; docs/how-to/family.md says how one is added",
                        fmt::join(supported, ", "),
                        near.empty() ? "" : fmt::format("; the nearest by name is {}", near)));
}

}  // namespace sft
