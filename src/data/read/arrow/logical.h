// What the values of a column mean, where Arrow's storage does not say it: JSON that is kept as
// text. Used by the readers of parquet and arrow files.
#pragma once

#include <arrow/api.h>
#include <parquet/arrow/schema.h>

#include <vector>

#include "core/json.h"

namespace sft {

// Of one field and, where it is nested, of what is below it: a list's values, a struct's fields, a
// map's keys and items. Nothing below where nothing there is special.
struct Logical {
  bool is_json = false;
  std::vector<Logical> below{};

  const Logical& at(size_t i) const;
  bool is_plain() const { return !is_json && below.empty(); }
};

// Of each column. JSON is what Arrow's extension arrow.json says, in the type or in the field's
// metadata, or a `Json` of the features that `datasets` leaves in the schema's metadata.
std::vector<Logical> logical_types(const arrow::Schema& schema);
// The same, and what parquet's own logical types say, which writers without Arrow leave.
std::vector<Logical> logical_types(const arrow::Schema& schema,
                                   const parquet::arrow::SchemaManifest& manifest);

}  // namespace sft
