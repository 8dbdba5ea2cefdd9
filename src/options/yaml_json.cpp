#include "options/yaml_json.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <unordered_set>

#include "core/error.h"
#include "options/values.h"

namespace sft {

namespace {

constexpr int kMostLevels = 64, kMostNodes = 100'000;

class Converter {
 public:
  explicit Converter(const std::string& file) : file_(file) {}

  Json value(const YAML::Node& node, int level) {
    if (level > kMostLevels || ++nodes_ > kMostNodes) {
      throw Error("C023", "this value is nested without end or too large")
          .at(yaml_place(file_, node.Mark()));
    }
    if (node.IsScalar()) {
      return node.Tag() == "!" ? Json(node.Scalar()) : yaml_scalar(node.Scalar());
    }
    if (node.IsSequence()) {
      Json out = Json::array();
      for (const YAML::Node& item : node) {
        out.push_back(value(item, level + 1));
      }
      return out;
    }
    return node.IsMap() ? object(node, level) : Json();
  }

 private:
  Json object(const YAML::Node& node, int level) {
    Json out = Json::object();
    std::unordered_set<std::string> seen;
    for (const auto& entry : node) {
      const std::string place = yaml_place(file_, entry.first.Mark());
      if (!entry.first.IsScalar()) {
        throw Error("C023", "a key must be a word").at(place);
      }
      const std::string& key = entry.first.Scalar();
      if (!seen.insert(key).second) {
        throw Error("C024", fmt::format("the key {} stands here a second time", key)).at(place);
      }
      out.push_back(Json::object_t::value_type(key, value(entry.second, level + 1)));
    }
    return out;
  }

  const std::string& file_;
  int nodes_ = 0;
};

}  // namespace

std::string yaml_place(const std::string& file, const YAML::Mark& mark) {
  return mark.is_null() ? file : fmt::format("{}:{}", file, mark.line + 1);
}

Json yaml_to_json(const YAML::Node& node, const std::string& file) {
  return Converter(file).value(node, 0);
}

}  // namespace sft
