// What a GGUF file says of rotary positions, as config.json says it.

#include <algorithm>
#include <cmath>

#include "core/json.h"
#include "formats/ggml_blocks.h"
#include "io/gguf/config.h"
#include "io/gguf/config_rope.h"

namespace sft {

namespace {

std::vector<float> plain_numbers(const MetadataReader& r, const GgufTensor& tensor, int64_t count) {
  if (tensor.type->quantised || tensor.elements() != count) {
    r.fail(fmt::format("{} does not have {} plain numbers", tensor.name, count));
  }
  std::vector<float> values(static_cast<size_t>(count));
  tensor.type->decode(r.file().raw(tensor).data(), count, values.data());
  return values;
}

Json llama3_rope(const MetadataReader& r, const GgufTensor& tensor) {
  const std::vector<float> divisors = plain_numbers(r, tensor, r.head_dim() / 2);
  if (std::all_of(divisors.begin(), divisors.end(), [](float d) { return d == 1; })) {
    return nullptr;
  }
  auto rope = llama3_rope_from_divisors(divisors, r.theta());
  if (!rope) {
    r.fail("its rope_freqs.weight is not Llama 3's rope scaling");
  }
  return *rope;
}

// A factor of each frequency, in two tensors.
Json longrope(const MetadataReader& r) {
  const GgufTensor* const long_factors = r.file().find("rope_factors_long.weight");
  const GgufTensor* const short_factors = r.file().find("rope_factors_short.weight");
  if (long_factors == nullptr || short_factors == nullptr) {
    r.fail("its longrope has no factors");
  }
  const auto rotated = static_cast<int64_t>(r.rotated_share() * static_cast<double>(r.head_dim()));
  return {{"rope_type", "longrope"},
          {"long_factor", plain_numbers(r, *long_factors, rotated / 2)},
          {"short_factor", plain_numbers(r, *short_factors, rotated / 2)}};
}

// Of Gemma 4's full layers: what is divided by more than any number stands still.
Json proportional_rope(const MetadataReader& r) {
  const GgufTensor* const tensor = r.file().find("rope_freqs.weight");
  if (tensor == nullptr) {
    r.fail("it has no rope_freqs.weight");
  }
  const std::vector<float> divisors = plain_numbers(r, *tensor, r.head_dim() / 2);
  const auto stands = std::ranges::find_if(divisors, [](float d) { return d != 1; });
  if (std::any_of(stands, divisors.end(), [](float d) { return d < 1e29F; })) {
    r.fail("its rope_freqs.weight is not Gemma 4's");
  }
  return {{"rope_type", "proportional"},
          {"partial_rotary_factor",
           static_cast<double>(stands - divisors.begin()) / static_cast<double>(divisors.size())}};
}

// transformers' rope_scaling object, or null.
Json rope_scaling(const MetadataReader& r) {
  if (const GgufTensor* tensor = r.file().find("rope_freqs.weight")) {
    return llama3_rope(r, *tensor);
  }
  const std::string type = r.string("rope.scaling.type").value_or("none");
  const double factor =
      r.number("rope.scaling.factor").value_or(r.number("rope.scale_linear").value_or(1));
  if (type == "longrope" || r.file().find("rope_factors_long.weight") != nullptr) {
    return longrope(r);  // Phi-3's files name no type
  }
  if (type == "yarn") {
    const bool of_ministral = r.family().is("ministral3");
    if (std::abs(r.number("rope.scaling.yarn_attn_factor").value_or(1) - 1) > 1e-6 ||
        (std::abs(r.number("rope.scaling.yarn_log_multiplier").value_or(0)) > 1e-6 &&
         !of_ministral)) {
      r.fail("its yarn rope scaling has an attention factor of its own");
    }
    Json yarn{{"factor", factor}, {"rope_type", "yarn"}};
    if (const auto n = r.integer("rope.scaling.original_context_length")) {
      yarn["original_max_position_embeddings"] = *n;
    }
    if (const auto x = r.number("rope.scaling.yarn_beta_fast")) {
      yarn["beta_fast"] = *x;
    }
    if (const auto x = r.number("rope.scaling.yarn_beta_slow")) {
      yarn["beta_slow"] = *x;
    }
    if (of_ministral) {
      yarn["mscale"] = 1.0;
      yarn["mscale_all_dim"] = r.number("rope.scaling.yarn_log_multiplier").value_or(0);
      yarn["llama_4_scaling_beta"] = r.number("attention.temperature_scale").value_or(0);
    }
    if (r.family().is("gpt_oss")) {
      yarn["truncate"] = false;  // as all models of the family have it
    }
    return yarn;
  }
  if (type != "linear" && type != "none") {
    r.fail(fmt::format("its rope scaling \"{}\"", type));
  }
  return factor == 1 ? Json() : Json{{"factor", factor}, {"rope_type", "linear"}};
}

Json with_theta(Json scaling, double theta) {
  Json rope{{"rope_theta", theta}, {"rope_type", "default"}};
  if (scaling.is_object()) {
    rope.update(scaling);
  }
  return rope;
}

// Where a picture's axes turn each head; the fourth is always 0.
void add_sections(const GgufValue& value, Json& rope) {
  if (const auto* sizes = std::get_if<std::vector<int64_t>>(&value.value);
      sizes != nullptr && sizes->size() >= 3) {
    rope["mrope_section"] = {(*sizes)[0], (*sizes)[1], (*sizes)[2]};
    rope["mrope_interleaved"] = true;
  }
}

}  // namespace

void add_rope(const MetadataReader& r, Json& config) {
  if (r.family().is("gemma4_text")) {
    config["rope_parameters"] = {
        {"full_attention", with_theta(proportional_rope(r), r.theta())},
        {"sliding_attention", with_theta(nullptr, r.number("rope.freq_base_swa").value_or(1e4))}};
    return;
  }
  const Json scaling = rope_scaling(r);
  const double share = r.rotated_share();
  config["rope_theta"] = r.theta();
  config["rope_scaling"] = scaling;
  const bool by_layer = r.family().is("gemma3_text") || r.family().is("olmo3");
  if (!by_layer) {
    config["rope_parameters"] = with_theta(scaling, r.theta());
    if (share != 1.0) {
      config["partial_rotary_factor"] = share;
      config["rope_parameters"]["partial_rotary_factor"] = share;
    }
    if (const GgufValue* v = r.file().value(r.key("rope.dimension_sections"));
        v != nullptr && r.family().has_delta()) {
      add_sections(*v, config["rope_parameters"]);
    }
    return;
  }
  const double local =
      r.number("rope.freq_base_swa").value_or(r.family().is("olmo3") ? r.theta() : 1e4);
  if (r.family().is_gemma()) {
    config["rope_local_base_freq"] = local;
  }
  config["rope_parameters"] = {{"full_attention", with_theta(scaling, r.theta())},
                               {"sliding_attention", with_theta(nullptr, local)}};
}

}  // namespace sft
