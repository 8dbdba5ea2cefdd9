#include "model/quantisation.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "model/options.h"
#include "text/full_match.h"

namespace sft {

namespace {

constexpr std::array kStorages{"float16", "float32", "int8", "uint8", "float64", "bfloat16"};

// The keys of BitsAndBytesConfig.
constexpr std::array kKeys{"quant_method",
                           "load_in_8bit",
                           "_load_in_8bit",
                           "load_in_4bit",
                           "_load_in_4bit",
                           "llm_int8_threshold",
                           "llm_int8_skip_modules",
                           "llm_int8_enable_fp32_cpu_offload",
                           "llm_int8_has_fp16_weight",
                           "bnb_4bit_compute_dtype",
                           "bnb_4bit_quant_type",
                           "bnb_4bit_use_double_quant",
                           "bnb_4bit_quant_storage"};

class Reader {
 public:
  Reader(const Json& json, std::string where) : json_(json), where_(std::move(where)) {}
  bool has(const char* key) const { return json_.contains(key) && !json_[key].is_null(); }
  [[noreturn]] void fail(const char* key, const std::string& wanted) const {
    throw Error("C202", fmt::format("quantization_config: \"{}\" is {}, and {} is wanted", key,
                                    to_text(json_[key]), wanted))
        .at(where_);
  }
  bool flag(const char* key) const {
    if (has(key) && !json_[key].is_boolean()) {
      fail(key, "true or false");
    }
    return has(key) && json_[key].get<bool>();
  }
  std::string word(const char* key, const char* otherwise) const {
    if (has(key) && !json_[key].is_string()) {
      fail(key, "a word");
    }
    return has(key) ? json_[key].get<std::string>() : otherwise;
  }
  void read_skips(BnbConfig& c) const {
    const char* const key = "llm_int8_skip_modules";
    if (!has(key)) {
      return;
    }
    const Json& list = json_[key];
    if (!list.is_array() ||
        !std::ranges::all_of(list, [](const Json& name) { return name.is_string(); })) {
      fail(key, "a list of names");
    }
    c.skips = list.get<std::vector<std::string>>();
    c.skips_head = false;
  }
  float threshold() const {
    const char* const key = "llm_int8_threshold";
    if (has(key) && (!json_[key].is_number() || !(json_[key].get<double>() >= 0))) {
      fail(key, "a number from 0 up");
    }
    return has(key) ? json_[key].get<float>() : 6.0F;
  }

 private:
  const Json& json_;
  std::string where_;
};

DType four_bit_type(const std::string& name, bool nested) {
  if (name == "fp4") {
    return nested ? DType::fp4_nested : DType::fp4;
  }
  return nested ? DType::nf4_nested : DType::nf4;
}

void check_keys(const Json& json, const std::string& where) {
  for (const auto& [key, value] : json.items()) {
    if (std::ranges::find(kKeys, key) == kKeys.end()) {
      throw Error("C202", fmt::format("quantization_config has no key \"{}\"", key))
          .at(where)
          .hint(fmt::format("bitsandbytes' keys are {}", fmt::join(kKeys, ", ")));
    }
  }
}

}  // namespace

BnbConfig BnbConfig::from_json(const Json& json, const std::string& where, bool strict) {
  if (!json.is_object()) {
    throw Error("C202",
                fmt::format("quantization_config is {}, and an object is wanted", to_text(json)))
        .at(where);
  }
  const Reader reader(json, where);
  if (strict) {
    check_keys(json, where);
  }
  if (const std::string method = reader.word("quant_method", "bitsandbytes");
      method != "bitsandbytes") {
    reader.fail("quant_method", "bitsandbytes");
  }
  const bool four = reader.flag("load_in_4bit") || reader.flag("_load_in_4bit");
  const bool eight = reader.flag("load_in_8bit") || reader.flag("_load_in_8bit");
  if (four == eight) {
    throw Error("C202", fmt::format("quantization_config: load_in_4bit and load_in_8bit are {}",
                                    four ? "both true" : "both false"))
        .at(where)
        .hint("{\"load_in_4bit\": true}");
  }
  if (reader.flag("llm_int8_has_fp16_weight")) {
    reader.fail("llm_int8_has_fp16_weight", "false (frozen weights are kept in 8 bits)");
  }
  reader.flag("llm_int8_enable_fp32_cpu_offload");
  BnbConfig c;
  reader.read_skips(c);
  c.threshold = reader.threshold();
  const std::string kind = reader.word("bnb_4bit_quant_type", "fp4");
  if (kind != "fp4" && kind != "nf4") {
    reader.fail("bnb_4bit_quant_type", "nf4 or fp4");
  }
  c.storage = reader.word("bnb_4bit_quant_storage", "uint8");
  if (std::ranges::find(kStorages, c.storage) == kStorages.end()) {
    reader.fail("bnb_4bit_quant_storage", fmt::format("one of {}", fmt::join(kStorages, ", ")));
  }
  const bool nested = reader.flag("bnb_4bit_use_double_quant");
  c.type = four ? four_bit_type(kind, nested) : DType::i8_rows;
  return c;
}

std::optional<BnbConfig> BnbConfig::from_options(const ModelOptions& o) {
  const Json& kwargs = o.model_init_kwargs;
  const bool has_config = kwargs.is_object() && kwargs.contains("quantization_config") &&
                          !kwargs["quantization_config"].is_null();
  if (o.load_in_4bit && o.load_in_8bit) {
    throw Error("C201", "--load_in_4bit and --load_in_8bit exclude each other")
        .hint("leave one of the two out");
  }
  if (has_config && (o.load_in_4bit || o.load_in_8bit)) {
    throw Error("C201", fmt::format("--load_in_{}bit and quantization_config in "
                                    "--model_init_kwargs say the same thing twice",
                                    o.load_in_4bit ? 4 : 8))
        .hint("leave one of the two out");
  }
  if (has_config) {
    return from_json(kwargs["quantization_config"], "--model_init_kwargs", true);
  }
  if (!o.load_in_4bit && !o.load_in_8bit) {
    return std::nullopt;
  }
  BnbConfig c;
  c.storage = o.bnb_4bit_quant_storage.value_or("uint8");
  c.type = o.load_in_8bit ? DType::i8_rows
                          : four_bit_type(o.bnb_4bit_quant_type, o.use_bnb_nested_quant);
  return c;
}

Json BnbConfig::to_json(std::string_view compute) const {
  const bool eight = type == DType::i8_rows;
  const bool fp4 = eight || type == DType::fp4 || type == DType::fp4_nested;
  return {{"_load_in_4bit", !eight},
          {"_load_in_8bit", eight},
          {"bnb_4bit_compute_dtype", compute},
          {"bnb_4bit_quant_storage", storage},
          {"bnb_4bit_quant_type", fp4 ? "fp4" : "nf4"},
          {"bnb_4bit_use_double_quant", nested()},
          {"llm_int8_enable_fp32_cpu_offload", false},
          {"llm_int8_has_fp16_weight", false},
          {"llm_int8_skip_modules", skips_head ? Json() : Json(skips)},
          {"llm_int8_threshold", threshold},
          {"load_in_4bit", !eight},
          {"load_in_8bit", eight},
          {"quant_method", "bitsandbytes"}};
}

bool BnbConfig::quantises(const std::string& module) const {
  return skips_head ? module != "lm_head" : !skips_module(skips, module);
}

std::string BnbConfig::words() const {
  return type == DType::i8_rows ? "int8" : std::string(name_of(type));
}

bool skips_module(const std::vector<std::string>& patterns, const std::string& module) {
  return std::ranges::any_of(patterns, [&](const std::string& pattern) {
    return module.ends_with(pattern) ||
           FullMatch(fmt::format("(?:{})(?:(?<=\\.)|(?=\\.|$)).*", pattern),
                     "llm_int8_skip_modules")(module);
  });
}

}  // namespace sft
