#include "model/families.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

#include "core/error.h"
#include "core/json.h"

namespace sft {

namespace {

const std::vector<Family>& families() {
#define SFT_MAKE_FAMILY(name) name##_family(),
  static const std::vector<Family> table{SFT_FAMILIES(SFT_MAKE_FAMILY)};
#undef SFT_MAKE_FAMILY
  return table;
}

}  // namespace

std::vector<std::string> supported_architectures() {
  std::vector<std::string> names;
  for (const Family& family : families()) {
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
  for (const Family& family : families()) {
    if (name.empty() ? type == family.model_type : name == family.architecture) {
      return family;
    }
  }
  throw Error("M031",
              fmt::format("the architecture {} (model_type \"{}\") is not supported",
                          name.empty() ? "of this model" : name.substr(0, 80), type.substr(0, 80)))
      .hint(fmt::format("supported are {}", fmt::join(supported_architectures(), ", ")));
}

}  // namespace sft
