#include "data/read/arrow/logical.h"

#include <parquet/schema.h>

#include <string>

#include "core/json_text.h"

namespace sft {

namespace {

constexpr const char* kJsonExtension = "arrow.json";

bool is_json_field(const arrow::Field& field) {
  if (field.type()->id() == arrow::Type::EXTENSION) {
    return static_cast<const arrow::ExtensionType&>(*field.type()).extension_name() ==
           kJsonExtension;
  }
  // A library that does not know the extension leaves its name here.
  const auto metadata = field.metadata();
  const int at = metadata == nullptr ? -1 : metadata->FindKey("ARROW:extension:name");
  return at >= 0 && metadata->value(at) == kJsonExtension;
}

const Json& member(const Json& object, const std::string& name) {
  static const Json nothing;
  const auto found = object.is_object() ? object.find(name) : object.end();
  return object.is_object() && found != object.end() ? *found : nothing;
}

// The feature below a list's. A Sequence of a dict is a struct of lists; then it is the struct's.
const Json& item_feature(const Json& feature) {
  return feature.is_array() && feature.size() == 1 ? feature[0] : member(feature, "feature");
}

Logical logical_of(const arrow::Field& field, const Json& feature) {
  Logical out;
  out.is_json = is_json_field(field) || member(feature, "_type") == "Json";
  const auto& type = *field.type();
  const bool is_struct = type.id() == arrow::Type::STRUCT;
  bool plain = true;
  for (const auto& below : type.fields()) {
    const Json& named = member(feature, below->name());
    const Json& nested =
        !is_struct ? item_feature(feature)
                   : (named.is_null() ? member(item_feature(feature), below->name()) : named);
    out.below.push_back(logical_of(*below, nested));
    plain = plain && out.below.back().is_plain();
  }
  if (type.id() == arrow::Type::MAP && out.below.size() == 1) {
    out.below = std::move(out.below[0].below);  // of the entries, which are a struct
  }
  if (plain) {
    out.below.clear();
  }
  return out;
}

void mark_json(Logical& logical, const parquet::arrow::SchemaField& field,
               const parquet::SchemaDescriptor& schema) {
  if (field.is_leaf()) {
    const auto type = schema.Column(field.column_index)->logical_type();
    logical.is_json = logical.is_json || (type != nullptr && type->is_JSON());
    return;
  }
  const bool is_map = field.field->type()->id() == arrow::Type::MAP && field.children.size() == 1;
  const auto& children = is_map ? field.children[0].children : field.children;
  std::vector<Logical> below = logical.below;
  below.resize(children.size());
  bool plain = true;
  for (size_t i = 0; i < children.size(); ++i) {
    mark_json(below[i], children[i], schema);
    plain = plain && below[i].is_plain();
  }
  if (!plain) {
    logical.below = std::move(below);
  }
}

}  // namespace

const Logical& Logical::at(size_t i) const {
  static const Logical plain;
  return i < below.size() ? below[i] : plain;
}

std::vector<Logical> logical_types(const arrow::Schema& schema) {
  Json metadata;
  if (const auto all = schema.metadata(); all != nullptr) {
    if (const int at = all->FindKey("huggingface"); at >= 0) {
      metadata = json_of(all->value(at));
    }
  }
  const Json& features = member(member(metadata, "info"), "features");
  std::vector<Logical> out;
  for (const auto& field : schema.fields()) {
    out.push_back(logical_of(*field, member(features, field->name())));
  }
  return out;
}

std::vector<Logical> logical_types(const arrow::Schema& schema,
                                   const parquet::arrow::SchemaManifest& manifest) {
  std::vector<Logical> out = logical_types(schema);
  for (size_t i = 0; i < out.size() && i < manifest.schema_fields.size(); ++i) {
    mark_json(out[i], manifest.schema_fields[i], *manifest.descr);
  }
  return out;
}

}  // namespace sft
