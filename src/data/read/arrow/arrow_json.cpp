#include "data/read/arrow/arrow_json.h"

#include <arrow/util/ree_util.h>
#include <fmt/format.h>

#include <cmath>
#include <string>

#include "core/error.h"
#include "core/json_text.h"

namespace sft {

namespace {

Json value_of(const arrow::Array& array, int64_t i, const Logical& logical, Budget& budget);

template <class List>
Json list_to_json(const arrow::Array& array, int64_t i, const Logical& logical, Budget& budget) {
  const auto& list = static_cast<const List&>(array);
  Json out = Json::array();
  const int64_t begin = list.value_offset(i);
  budget.step(list.value_length(i));
  for (int64_t j = begin; j < begin + list.value_length(i); ++j) {
    out.push_back(arrow_to_json(*list.values(), j, logical.at(0), budget));
  }
  return out;
}

Json struct_to_json(const arrow::StructArray& array, int64_t i, const Logical& logical,
                    Budget& budget) {
  Json out = Json::object();
  for (int f = 0; f < array.num_fields(); ++f) {
    const std::string& name = array.struct_type()->field(f)->name();
    Json value = arrow_to_json(*array.field(f), i, logical.at(static_cast<size_t>(f)), budget);
    if (!value.is_null() || name == "content" || name == "value") {
      out.emplace(name, std::move(value));
    }
  }
  return out;
}

Json map_to_json(const arrow::MapArray& array, int64_t i, const Logical& logical, Budget& budget) {
  Json out = Json::object();
  budget.step(array.value_length(i));
  for (int64_t j = array.value_offset(i); j < array.value_offset(i) + array.value_length(i); ++j) {
    budget.step(static_cast<int64_t>(out.size()));  // each key is looked for among the others
    const Json key = arrow_to_json(*array.keys(), j, logical.at(0), budget);
    out[key.is_string() ? key.get<std::string>()
                        : key.dump(-1, ' ', false, Json::error_handler_t::replace)] =
        arrow_to_json(*array.items(), j, logical.at(1), budget);
  }
  return out;
}

template <class Array>
Json number(const arrow::Array& array, int64_t i) {
  return static_cast<const Array&>(array).Value(i);
}

template <class Array>
Json text(const arrow::Array& array, int64_t i, Budget& budget) {
  const std::string_view view = static_cast<const Array&>(array).GetView(i);
  budget.hold(static_cast<int64_t>(view.size()));
  return std::string(view);
}

template <class Array>
Json bytes(const arrow::Array& array, int64_t i, Budget& budget) {
  const std::string_view view = static_cast<const Array&>(array).GetView(i);
  budget.hold(static_cast<int64_t>(view.size()));
  return Json::binary(std::vector<uint8_t>(view.begin(), view.end()));
}

// IEEE 754's half precision.
double half(uint16_t bits) {
  const int exponent = (bits >> 10) & 0x1F;
  const int fraction = bits & 0x3FF;
  double value =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(fraction + 0x400, exponent - 25);
  if (exponent == 0x1F) {
    value = fraction == 0 ? INFINITY : NAN;
  }
  return (bits & 0x8000) != 0 ? -value : value;
}

Json extension_to_json(const arrow::ExtensionArray& array, int64_t i, const Logical& logical,
                       Budget& budget) {
  const auto& type = static_cast<const arrow::ExtensionType&>(*array.type());
  const Json stored = value_of(*array.storage(), i, logical, budget);
  if (type.extension_name() == "arrow.bool8" && stored.is_number_integer()) {
    return stored.get<int64_t>() != 0;
  }
  if (type.extension_name() == "arrow.uuid" && stored.is_binary() &&
      stored.get_binary().size() == 16) {
    std::string out;
    for (const uint8_t byte : stored.get_binary()) {
      const bool dash = out.size() == 8 || out.size() == 13 || out.size() == 18 || out.size() == 23;
      out += fmt::format("{}{:02x}", dash ? "-" : "", byte);
    }
    return out;
  }
  return stored;
}

Json parse_text(Json stored) {
  if (!stored.is_string()) {
    return stored;
  }
  Json value = json_of(stored.get_ref<const std::string&>());
  if (value.is_discarded()) {
    throw Error("D023", fmt::format("a value of the type JSON is not valid JSON: {}",
                                    stored.get<std::string>().substr(0, 80)))
        .hint("write the data set again, with JSON in this column or with plain text");
  }
  return value;
}

Json value_of(const arrow::Array& array, int64_t i, const Logical& logical, Budget& budget) {
  switch (array.type_id()) {
    case arrow::Type::NA:
      return nullptr;
    case arrow::Type::STRING:
      return text<arrow::StringArray>(array, i, budget);
    case arrow::Type::LARGE_STRING:
      return text<arrow::LargeStringArray>(array, i, budget);
    case arrow::Type::STRING_VIEW:
      return text<arrow::StringViewArray>(array, i, budget);
    case arrow::Type::BINARY:
      return bytes<arrow::BinaryArray>(array, i, budget);
    case arrow::Type::LARGE_BINARY:
      return bytes<arrow::LargeBinaryArray>(array, i, budget);
    case arrow::Type::BINARY_VIEW:
      return bytes<arrow::BinaryViewArray>(array, i, budget);
    case arrow::Type::FIXED_SIZE_BINARY:
      return bytes<arrow::FixedSizeBinaryArray>(array, i, budget);
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
    case arrow::Type::HALF_FLOAT:
      return half(static_cast<const arrow::HalfFloatArray&>(array).Value(i));
    case arrow::Type::FLOAT:
      return number<arrow::FloatArray>(array, i);
    case arrow::Type::DOUBLE:
      return number<arrow::DoubleArray>(array, i);
    case arrow::Type::LIST:
      return list_to_json<arrow::ListArray>(array, i, logical, budget);
    case arrow::Type::LARGE_LIST:
      return list_to_json<arrow::LargeListArray>(array, i, logical, budget);
    case arrow::Type::FIXED_SIZE_LIST:
      return list_to_json<arrow::FixedSizeListArray>(array, i, logical, budget);
    case arrow::Type::LIST_VIEW:
      return list_to_json<arrow::ListViewArray>(array, i, logical, budget);
    case arrow::Type::LARGE_LIST_VIEW:
      return list_to_json<arrow::LargeListViewArray>(array, i, logical, budget);
    case arrow::Type::STRUCT:
      return struct_to_json(static_cast<const arrow::StructArray&>(array), i, logical, budget);
    case arrow::Type::MAP:
      return map_to_json(static_cast<const arrow::MapArray&>(array), i, logical, budget);
    case arrow::Type::DICTIONARY: {
      const auto& dictionary = static_cast<const arrow::DictionaryArray&>(array);
      return arrow_to_json(*dictionary.dictionary(), dictionary.GetValueIndex(i), {}, budget);
    }
    case arrow::Type::RUN_END_ENCODED: {
      const auto& runs = static_cast<const arrow::RunEndEncodedArray&>(array);
      return arrow_to_json(
          *runs.values(),
          arrow::ree_util::FindPhysicalIndex(arrow::ArraySpan(*runs.data()), i, runs.offset()), {},
          budget);
    }
    case arrow::Type::EXTENSION:
      return extension_to_json(static_cast<const arrow::ExtensionArray&>(array), i, logical,
                               budget);
    default: {
      const auto scalar = array.GetScalar(i);
      return scalar.ok() ? Json((*scalar)->ToString()) : Json();
    }
  }
}

}  // namespace

Json arrow_to_json(const arrow::Array& array, int64_t i, const Logical& logical, Budget& budget) {
  if (array.IsNull(i)) {
    return nullptr;
  }
  Json value = value_of(array, i, logical, budget);
  return logical.is_json ? parse_text(std::move(value)) : value;
}

}  // namespace sft
