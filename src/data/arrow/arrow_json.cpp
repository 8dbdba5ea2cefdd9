#include "data/arrow/arrow_json.h"

#include <string>

namespace sft {

namespace {

template <class List>
Json list_to_json(const arrow::Array& array, int64_t i) {
  const auto& list = static_cast<const List&>(array);
  Json out = Json::array();
  const int64_t begin = list.value_offset(i);
  for (int64_t j = begin; j < begin + list.value_length(i); ++j) {
    out.push_back(arrow_to_json(*list.values(), j));
  }
  return out;
}

Json struct_to_json(const arrow::StructArray& array, int64_t i) {
  Json out = Json::object();
  for (int f = 0; f < array.num_fields(); ++f) {
    const std::string& name = array.struct_type()->field(f)->name();
    Json value = arrow_to_json(*array.field(f), i);
    if (!value.is_null() || name == "content" || name == "value") {
      out.emplace(name, std::move(value));
    }
  }
  return out;
}

Json map_to_json(const arrow::MapArray& array, int64_t i) {
  Json out = Json::object();
  for (int64_t j = array.value_offset(i); j < array.value_offset(i) + array.value_length(i); ++j) {
    const Json key = arrow_to_json(*array.keys(), j);
    out[key.is_string() ? key.get<std::string>()
                        : key.dump(-1, ' ', false, Json::error_handler_t::replace)] =
        arrow_to_json(*array.items(), j);
  }
  return out;
}

template <class Array>
Json number(const arrow::Array& array, int64_t i) {
  return static_cast<const Array&>(array).Value(i);
}

template <class Array>
Json text(const arrow::Array& array, int64_t i) {
  return std::string(static_cast<const Array&>(array).GetView(i));
}

}  // namespace

Json arrow_to_json(const arrow::Array& array, int64_t i) {
  if (array.IsNull(i)) {
    return nullptr;
  }
  switch (array.type_id()) {
    case arrow::Type::NA:
      return nullptr;
    case arrow::Type::STRING:
      return text<arrow::StringArray>(array, i);
    case arrow::Type::LARGE_STRING:
      return text<arrow::LargeStringArray>(array, i);
    case arrow::Type::STRING_VIEW:
      return text<arrow::StringViewArray>(array, i);
    case arrow::Type::BOOL:
      return number<arrow::BooleanArray>(array, i);
    case arrow::Type::INT8:
      return number<arrow::Int8Array>(array, i);
    case arrow::Type::INT16:
      return number<arrow::Int16Array>(array, i);
    case arrow::Type::INT32:
      return number<arrow::Int32Array>(array, i);
    case arrow::Type::INT64:
      return number<arrow::Int64Array>(array, i);
    case arrow::Type::UINT8:
      return number<arrow::UInt8Array>(array, i);
    case arrow::Type::UINT16:
      return number<arrow::UInt16Array>(array, i);
    case arrow::Type::UINT32:
      return number<arrow::UInt32Array>(array, i);
    case arrow::Type::UINT64:
      return number<arrow::UInt64Array>(array, i);
    case arrow::Type::FLOAT:
      return number<arrow::FloatArray>(array, i);
    case arrow::Type::DOUBLE:
      return number<arrow::DoubleArray>(array, i);
    case arrow::Type::LIST:
      return list_to_json<arrow::ListArray>(array, i);
    case arrow::Type::LARGE_LIST:
      return list_to_json<arrow::LargeListArray>(array, i);
    case arrow::Type::FIXED_SIZE_LIST:
      return list_to_json<arrow::FixedSizeListArray>(array, i);
    case arrow::Type::STRUCT:
      return struct_to_json(static_cast<const arrow::StructArray&>(array), i);
    case arrow::Type::MAP:
      return map_to_json(static_cast<const arrow::MapArray&>(array), i);
    case arrow::Type::DICTIONARY: {
      const auto& dictionary = static_cast<const arrow::DictionaryArray&>(array);
      return arrow_to_json(*dictionary.dictionary(), dictionary.GetValueIndex(i));
    }
    case arrow::Type::EXTENSION:
      return arrow_to_json(*static_cast<const arrow::ExtensionArray&>(array).storage(), i);
    default: {
      const auto scalar = array.GetScalar(i);
      return scalar.ok() ? Json((*scalar)->ToString()) : Json();
    }
  }
}

}  // namespace sft
